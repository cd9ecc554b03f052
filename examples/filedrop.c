/* Takes files and puts each into a directory. A file appears under its name when it is whole and on
 * the disk, and its sender is told after that.
 *
 *     cc -o filedrop filedrop.c $(pkg-config --cflags --libs libmsock)
 *     ./filedrop msp://127.0.0.1:8000 /srv/incoming
 *     msock send-file report.pdf */
#include <fcntl.h>
#include <msock_server.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static msock_server *server;

static void
on_signal(int number)
{
    (void)number;
    msock_server_stop(server);
}

static int
write_all(int fd, const char *data, size_t n)
{
    while (n > 0) {
        ssize_t written = write(fd, data, n);

        if (written < 0)
            return -1;
        data += written;
        n -= (size_t)written;
    }
    return fsync(fd);
}

/* In the working directory, in place of a file that is there. Returns 0, or -1: it is not safe
 * there. */
static int
put(const char *name, const char *data, size_t n)
{
    char temp[] = ".incoming-XXXXXX";
    int fd = mkstemp(temp), dir = open(".", O_RDONLY | O_DIRECTORY), rc = -1;

    if (fd >= 0 && dir >= 0 && write_all(fd, data, n) == 0 && rename(temp, name) == 0)
        rc = fsync(dir);
    else if (fd >= 0)
        unlink(temp);
    close(fd);
    close(dir);
    return rc;
}

static void
take(msock_message *m)
{
    const char *name = msock_message_id(m);
    size_t n;
    const char *data = msock_message_data(m, &n);

    if (msock_message_kind(m) != 'F')
        msock_message_refuse(m, "this server takes files only");
    else if (name[0] == '.' || strchr(name, '/') != NULL)
        msock_message_refuse(m, "a name without a dot in front and without directories, please");
    else if (data == NULL || put(name, data, n) < 0)
        msock_message_fail(m, "the file could not be stored");
    else
        msock_message_commit(m, name, strlen(name));
}

int
main(int argc, char **argv)
{
    enum msock_status status;
    msock_message *m;

    server = msock_server_create();
    if (argc != 3 || server == NULL || chdir(argv[2]) < 0) {
        if (argc == 3)
            perror(argv[2]);
        else
            fprintf(stderr, "usage: filedrop URL DIRECTORY\n");
        msock_server_destroy(server);
        return 64;
    }
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    status = msock_server_add_listener(server, argv[1]);
    if (status == MSOCK_OK)
        fprintf(stderr, "listening on %s\n", msock_server_address(server, 0));
    while (status == MSOCK_OK && (status = msock_server_recv(server, -1, &m)) == MSOCK_OK)
        take(m);
    if (status != MSOCK_CANCELLED)
        fprintf(stderr, "%s: %s\n", argv[1], msock_server_error(server));
    msock_server_destroy(server);
    return status != MSOCK_CANCELLED;
}
