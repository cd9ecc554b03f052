/* A listener's or server's URL with a key. Pure. */
#ifndef MSOCK_LISTEN_URL_H
#define MSOCK_LISTEN_URL_H

/* The URL with ?key_file= for that path, percent-encoded (NULL: as it is). Returns a string that
 * the caller frees, or NULL without memory. */
char *listen_url_with_key(const char *url, const char *key);

#endif
