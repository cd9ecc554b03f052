/* Sources and rules about them. A rule is a source and how many of its bits count, so an address, a
 * network and a user are one case. */
#include "common/source.h"

#include "common/digest.h"
#include "common/text.h"

#include <arpa/inet.h>
#include <fnmatch.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/socket.h>

#define WORD_MAX     300
#define PASSWD_SPACE 16384

/* The bits that tell one source of a kind from another. */
static unsigned
source_bits(uint8_t kind)
{
    return kind == SOURCE_IPV6 ? 128 : 32;
}

struct source
source_of_peer(int fd, const struct endpoint *peer)
{
    struct source source = {.kind = SOURCE_NONE};
    struct endpoint ep = *peer;
    struct ucred cred;
    socklen_t len = sizeof(cred);

    endpoint_unmap(&ep);
    if (ep.addr.ss_family == AF_INET) {
        source.kind = SOURCE_IPV4;
        memcpy(source.bytes, &((const struct sockaddr_in *)&ep.addr)->sin_addr, 4);
    } else if (ep.addr.ss_family == AF_INET6) {
        source.kind = SOURCE_IPV6;
        memcpy(source.bytes, &((const struct sockaddr_in6 *)&ep.addr)->sin6_addr, 16);
    } else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0) {
        source.kind = SOURCE_USER;
        be32_store(source.bytes, cred.uid);
    }
    return source;
}

struct source
source_of_name(const char *identity)
{
    struct source source = {.kind = SOURCE_CERT};
    uint8_t sha256[SHA256_LEN] = {0};

    (void)EVP_Q_digest(NULL, "SHA256", NULL, identity, strlen(identity), sha256, NULL);
    memcpy(source.bytes, sha256, 8);
    return source;
}

const char *
source_name(const struct source *source, char out[SOURCE_NAME_LEN])
{
    char text[INET6_ADDRSTRLEN] = "";
    struct in6_addr network = {0};

    switch (source->kind) {
    case SOURCE_IPV4:
        inet_ntop(AF_INET, source->bytes, text, sizeof(text));
        snprintf(out, SOURCE_NAME_LEN, "%s", text);
        break;
    case SOURCE_IPV6:
        memcpy(&network, source->bytes, 8);
        inet_ntop(AF_INET6, &network, text, sizeof(text));
        snprintf(out, SOURCE_NAME_LEN, "%s/64", text);
        break;
    case SOURCE_USER:
        snprintf(out, SOURCE_NAME_LEN, "user:%u", (unsigned)be32_load(source->bytes));
        break;
    case SOURCE_CERT:
        digest_hex(source->bytes, 8, text);
        snprintf(out, SOURCE_NAME_LEN, "cert:#%s", text);
        break;
    default: /* it may come from shared memory */
        snprintf(out, SOURCE_NAME_LEN, "unknown");
    }
    return out;
}

/* --- rules --- */

static int
rule_user(const char *name, struct source_rule *rule, char reason[SOURCE_REASON_LEN])
{
    char space[PASSWD_SPACE];
    struct passwd pw, *found = NULL;
    uint64_t uid;

    if (text_parse_number(name, 0, UINT32_MAX - 1, &uid) < 0) {
        if (getpwnam_r(name, &pw, space, sizeof(space), &found) != 0 || found == NULL) {
            snprintf(reason, SOURCE_REASON_LEN, "there is no such user");
            return -1;
        }
        uid = found->pw_uid;
    }
    rule->source.kind = SOURCE_USER;
    rule->bits = 32;
    be32_store(rule->source.bytes, (uint32_t)uid);
    return 0;
}

/* Takes "/BITS" off the end of word. */
static int
rule_bits(char *word, unsigned most, struct source_rule *rule, char reason[SOURCE_REASON_LEN])
{
    char *slash = strchr(word, '/');
    uint64_t bits = most;

    if (slash != NULL && text_parse_number(slash + 1, 0, most, &bits) < 0) {
        snprintf(reason, SOURCE_REASON_LEN, "expected 0 to %u bits behind the slash", most);
        return -1;
    }
    if (slash != NULL)
        *slash = '\0';
    rule->bits = (uint8_t)bits;
    return 0;
}

static int
rule_name(const char *word, struct source_rule *rule, char reason[SOURCE_REASON_LEN])
{
    rule->source.kind = SOURCE_CERT;
    if (strlen(word) < sizeof(rule->pattern) && strcmp(word, "cert:") != 0) {
        memcpy(rule->pattern, word, strlen(word) + 1);
        return 0;
    }
    snprintf(reason, SOURCE_REASON_LEN, "a name of a certificate has 1 to %zu characters",
             sizeof(rule->pattern) - sizeof("cert:"));
    return -1;
}

static int
rule_parse(char *word, struct source_rule *rule, char reason[SOURCE_REASON_LEN])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff}; /* IPv4 in IPv6: ::ffff:0:0/96 */
    uint8_t *bytes = rule->source.bytes;

    *rule = (struct source_rule){.source.kind = SOURCE_USER};
    if (strcmp(word, "unix") == 0)
        return 0;
    if (strncmp(word, "user:", 5) == 0)
        return rule_user(word + 5, rule, reason);
    if (strncmp(word, "cert:", 5) == 0)
        return rule_name(word, rule, reason);
    rule->source.kind = strchr(word, ':') != NULL ? SOURCE_IPV6 : SOURCE_IPV4;
    if (rule_bits(word, source_bits(rule->source.kind), rule, reason) < 0)
        return -1;
    if (inet_pton(rule->source.kind == SOURCE_IPV6 ? AF_INET6 : AF_INET, word, bytes) == 1 &&
        !(rule->source.kind == SOURCE_IPV6 && memcmp(bytes, mapped, sizeof(mapped)) == 0))
        return 0;
    snprintf(reason, SOURCE_REASON_LEN,
             "expected networks and users such as \"10.0.0.0/8,::1,user:app,unix\"");
    return -1;
}

int
source_rules_parse(const char *text, struct source_rules *rules_out, char reason[SOURCE_REASON_LEN])
{
    struct source_rules rules = {0};
    const char *end;

    for (; text != NULL; text = *end == ',' ? end + 1 : NULL) {
        char word[WORD_MAX];

        end = text + strcspn(text, ",");
        snprintf(word, sizeof(word), "%.*s", (int)(end - text), text);
        if (rules.count == SOURCE_RULES_MAX) {
            snprintf(reason, SOURCE_REASON_LEN, "expected at most %d networks and users",
                     SOURCE_RULES_MAX);
            return -1;
        }
        if (rule_parse(word, &rules.rule[rules.count++], reason) < 0)
            return -1;
    }
    *rules_out = rules;
    return 0;
}

static bool
rule_matches(const struct source_rule *rule, const struct source *source)
{
    unsigned whole = rule->bits / 8, rest = rule->bits % 8;
    uint8_t differ;

    if (rule->source.kind != source->kind || memcmp(rule->source.bytes, source->bytes, whole) != 0)
        return false;
    if (rest == 0)
        return true;
    differ = rule->source.bytes[whole] ^ source->bytes[whole];
    return differ >> (8 - rest) == 0;
}

bool
source_rules_match(const struct source_rules *rules, const struct source *source)
{
    for (size_t i = 0; i < rules->count; i++)
        if (rule_matches(&rules->rule[i], source))
            return true;
    return false;
}

bool
source_rules_match_name(const struct source_rules *rules, const char *identity)
{
    for (size_t i = 0; i < rules->count; i++)
        if (rules->rule[i].source.kind == SOURCE_CERT &&
            fnmatch(rules->rule[i].pattern, identity, 0) == 0)
            return true;
    return false;
}

bool
source_rules_have_names(const struct source_rules *rules)
{
    for (size_t i = 0; i < rules->count; i++)
        if (rules->rule[i].source.kind == SOURCE_CERT)
            return true;
    return false;
}
