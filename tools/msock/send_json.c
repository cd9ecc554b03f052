/* msock send-json: one JSON document, sent as it is. The server checks it. */
#include "command.h"
#include "send_message.h"
#include "session.h"

static void
send_json_help(FILE *out)
{
    fputs("usage: msock send-json [OPTION...] [JSON | - | @FILE]\n\n"
          "Sends a JSON document as it is: the argument, the content of FILE, or standard\n"
          "input for - or where there is no argument. The server checks it.\n\n"
          "examples:\n"
          "  msock send-json '{\"hello\":\"world\"}'\n"
          "  msock send-json @order.json --json | jq -r .id\n"
          "  lsblk --json | msock send-json --reply\n"
          "  msock send-json --lines < events.ndjson\n\n"
          "options:\n"
          "  -i, --id ID            the message's id, by which a receiver can drop a double;\n"
          "                         default: a random one\n"
          "      --lines            send each line of standard input as a document (NDJSON;\n"
          "                         empty lines are left out), the next one before the first is\n"
          "                         answered\n",
          out);
    session_help(out);
}

static enum msock_status
send_json_text(msock *m, const void *data, size_t n)
{
    return msock_send_json_text(m, data, n);
}

int
command_send_json(int argc, char **argv, const char *url)
{
    static const struct send_kind kind = {"msock send-json --help", "document",    1, 'J',
                                          send_json_text,           send_json_help};

    return send_message(&kind, argc, argv, url);
}
