/* msock send: one plain message. */
#include "command.h"
#include "send_message.h"
#include "session.h"

static void
send_help(FILE *out)
{
    fputs("usage: msock send [OPTION...] [MESSAGE | -]\n\n"
          "Sends a message: the argument, or standard input for - or where there is none.\n"
          "An empty message is a message too.\n\n"
          "examples:\n"
          "  msock send 'pump 3 started'\n"
          "  dmesg | msock send --id boot-42\n"
          "  msock send -u 'msp://[::1]:8000' --reply ping\n"
          "  tail -F app.log | msock send --lines\n\n"
          "options:\n"
          "  -i, --id ID            the message's id, by which a receiver can drop a double;\n"
          "                         default: a random one\n"
          "      --lines            send each line of standard input as a message, without its\n"
          "                         newline, the next one before the first is answered\n",
          out);
    session_help(out);
}

int
command_send(int argc, char **argv, const char *url)
{
    static const struct send_kind kind = {"msock send --help", "message", 0, 'A',
                                          msock_send,          send_help};

    return send_message(&kind, argc, argv, url);
}
