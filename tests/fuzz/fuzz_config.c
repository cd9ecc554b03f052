/* Any bytes as a configuration file, and (after a first byte of 'u') as a listener's URL: a
 * configuration, or one sentence that says what is wrong. Host names are never looked up. */
#include "config/config.h"
#include "config/config_settings.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int __real_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **res);
int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **res);

int
__wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                   struct addrinfo **res)
{
    struct addrinfo numeric = *hints;

    numeric.ai_flags |= AI_NUMERICHOST;
    return __real_getaddrinfo(node, service, &numeric, res);
}

static void
check_sentence(const char *error)
{
    size_t n = strnlen(error, CONFIG_ERROR_LEN);

    if (n == 0 || n == CONFIG_ERROR_LEN)
        abort();
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)error[i] < ' ' || error[i] == 127)
            abort(); /* a terminal would act on it */
}

static void
try_url(const char *text)
{
    char error[CONFIG_ERROR_LEN] = "";
    struct listener_config listener;
    struct settings settings;

    settings_init(&settings, "/");
    if (listener_config_read(text, "-l", &settings, &listener, error) == 0)
        listener_config_fini(&listener);
    else
        check_sentence(error);
    settings_fini(&settings);
}

static void
try_file(const uint8_t *data, size_t n)
{
    int fd = memfd_create("config", MFD_CLOEXEC);
    char path[64], error[CONFIG_ERROR_LEN] = "";
    const struct config_args args = {.config_file = path};
    struct config *config;

    if (fd < 0 || write(fd, data, n) != (ssize_t)n)
        abort();
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (config_build(&args, "/", &config, error) == 0)
        config_destroy(config);
    else
        check_sentence(error);
    close(fd);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n > 0 && data[0] == 'u') {
        char *text = strndup((const char *)data + 1, n - 1);

        try_url(text);
        free(text);
    } else {
        try_file(data, n);
    }
    return 0;
}
