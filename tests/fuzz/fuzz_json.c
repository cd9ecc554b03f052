/* Any bytes as a document: what is taken, jansson can write, and the result is taken again. */
#include "proto/message.h"

#include <jansson.h>

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const struct proto_limits limits = {
        .max_json_size = 1 << 20, .max_json_depth = 64, .max_json_values = 10000};
    char error[JSON_ERROR_LEN] = "";
    uint64_t cost;
    json_t *value = json_parse((const char *)data, n, &limits, &cost, error), *again;
    char *text;

    if (value == NULL) {
        if (error[0] == '\0' || strlen(error) >= sizeof(error))
            abort();
        return 0;
    }
    text = json_dumps(value, JSON_ENCODE_ANY);
    if (text == NULL)
        abort();
    again = json_parse(text, strlen(text), &limits, &cost, error);
    if (again == NULL && strlen(text) <= limits.max_json_size)
        abort();
    json_decref(again);
    json_decref(value);
    free(text);
    return 0;
}
