/* From JSON and hex to bytes. */
#include "harness.h"

#include "vectors.h"

#include "support/hex.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static json_t *document; /* the texts of the vectors are in it */

static uint8_t *
from_hex(const char *hex, size_t *n_out)
{
    uint8_t *out = calloc(1, strlen(hex) / 2 + 1);

    assert_non_null(out);
    *n_out = hex_read(hex, out);
    return out;
}

static const char *
kind_word(const char *kind)
{
    return strcmp(kind, "J") == 0 ? "json" : strcmp(kind, "F") == 0 ? "file" : "plain";
}

static void
read_step(struct vector *v, const json_t *step)
{
    struct vector_step *s = &v->steps[v->step_count++];
    const char *client = json_string_value(json_object_get(step, "client"));

    assert_true(v->step_count <= VECTOR_STEPS_MAX);
    s->server = json_string_value(json_object_get(step, "server"));
    if (client != NULL)
        s->client = from_hex(client, &s->client_len);
    v->client_len += s->client_len;
    assert_true(s->server != NULL || s->client != NULL);
}

static void
read_delivery(struct vector *v, const json_t *delivery)
{
    struct vector_delivery *d = &v->deliveries[v->delivery_count++];
    const char *value = json_string_value(json_object_get(delivery, "value"));
    size_t n;

    assert_true(v->delivery_count <= VECTOR_DELIVERS_MAX);
    d->kind = kind_word(json_string_value(json_object_get(delivery, "kind")));
    d->body = from_hex(json_string_value(json_object_get(delivery, "body")), &d->body_len);
    d->value = (char *)from_hex(value != NULL ? value : "", &n);
}

struct vector *
vectors_load(size_t *count_out)
{
    json_t *cases, *item, *part;
    struct vector *vectors;
    size_t i, k;

    document = json_load_file(harness_source("tests/vectors/msp.json"), 0, NULL);
    assert_non_null(document);
    cases = json_object_get(document, "cases");
    *count_out = json_array_size(cases);
    assert_true(*count_out > 30);
    vectors = calloc(*count_out, sizeof(*vectors));
    assert_non_null(vectors);
    json_array_foreach(cases, i, item)
    {
        struct vector *v = &vectors[i];

        v->name = json_string_value(json_object_get(item, "name"));
        v->small_packets = json_object_get(item, "packet_size") != NULL;
        v->closes = json_is_true(json_object_get(item, "closes"));
        v->reply = json_is_true(json_object_get(item, "reply"));
        v->undetermined = strncmp(v->name, "undetermined", 12) == 0;
        json_array_foreach(json_object_get(item, "steps"), k, part) read_step(v, part);
        json_array_foreach(json_object_get(item, "delivers"), k, part) read_delivery(v, part);
    }
    return vectors;
}

void
vectors_free(struct vector *vectors, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < vectors[i].step_count; k++)
            free(vectors[i].steps[k].client);
        for (size_t k = 0; k < vectors[i].delivery_count; k++) {
            free(vectors[i].deliveries[k].body);
            free(vectors[i].deliveries[k].value);
        }
    }
    free(vectors);
    json_decref(document);
    document = NULL;
}
