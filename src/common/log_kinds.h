/* Every kind of line that the log has, in one place: X(id, level, MESSAGE_ID, what it means, what
 * to do). The id stands at the end of a line, and stays what it is as long as there is such a line:
 * people filter by it, and ask `msockctl explain`. So does the MESSAGE_ID, which is the journal's
 * name for it; `uuidgen -r | tr -d -` makes one for a new kind. */
#ifndef COMMON_LOG_KINDS_H
#define COMMON_LOG_KINDS_H

/* clang-format off */
#define LOG_KINDS(X) \
    /* master and workers */                                                                       \
    X(ready, NOTICE, "607605e6e4a64aad883650bde8582807",                                           \
      "All workers are ready, and msockd listens on the addresses in the line.",                   \
      "Nothing.")                                                                                  \
    X(workers_are_root, WARN, "d7ecb04c9fb04956a90c3bdb0a2276bb",                                  \
      "No user is set, so the workers, which read what peers send, run as root.",                  \
      "Set user to a user of their own, and give it the data directory.")                          \
    X(sandbox_lacks, WARN, "7af543cfdc724a55b8653c7eff110e0e",                                    \
      "The kernel does not have all of the sandbox of the workers, which do without.",             \
      "Use the kernel that the line names, or allow the calls where msockd runs.")                 \
    X(call_refused, WARN, "94c6208db6954394b88e695779b512a6",                                     \
      "A worker, or a module in it, made a system call that the sandbox does not allow. Each "     \
      "call is told once.",                                                                        \
      "If a module needs it, set sandbox=off; else look for what has got into the worker.")        \
    X(reloaded, NOTICE, "07cdd12d5d044af9b2684b49b5713100",                                        \
      "The new configuration is in force, with new workers. The old ones finish what is "          \
      "under way and leave.",                                                                      \
      "Nothing.")                                                                                  \
    X(reload_failed, ERROR, "a83ca979bd384c7a88ab0826fa2a3c69",                                    \
      "The new configuration cannot be used, for the reason in the line. All goes on as "          \
      "before.",                                                                                   \
      "Mend what the line names, try it with msockd -t, then run msockctl reload again.")          \
    X(reload_row, WARN, "26f14f1dd3b7446e98c824cf5cbfeb78",                                        \
      "After a reload that failed, a listener has no row in the statistics.",                      \
      "Run msockctl reload; what is received is not affected.")                                    \
    X(stopping, NOTICE, "cb4e096b634d4b60bc08600f9dcf85cf",                                        \
      "msockd was told to stop at once, or once the messages under way are finished.",             \
      "Nothing.")                                                                                  \
    X(stopped, NOTICE, "71dea73e99dd4ee388fb9540f2a815a8",                                         \
      "The last worker is gone, and the master ends.",                                             \
      "Nothing.")                                                                                  \
    X(hung_up, NOTICE, "c50f20f2602743318c426973fcd15be9",                                         \
      "The terminal that msockd was started in is gone. Unless nohup was asked for, it "           \
      "finishes the messages under way and stops.",                                                \
      "Start it with --daemon, by systemd or with nohup.")                                         \
    X(upgraded, NOTICE, "0629f9f3c5744f1dabeae9631a82a924",                                        \
      "The program was replaced and goes on as the version in the line, with new workers.",       \
      "Nothing.")                                                                                  \
    X(upgrade_failed, ERROR, "081a6e6834b148b58e3b937040777815",                                   \
      "msockd cannot go on as the program that is in its file now, for the reason in the "         \
      "line. All goes on as before.",                                                              \
      "Mend what the line names, then run msockctl upgrade again; or restart msockd.")             \
    X(log_reopened, NOTICE, "ef351162998d4e9a99ee0df5d3b9ae23",                                    \
      "The log file was opened again, as msockctl reopen or SIGUSR1 asked for.",                   \
      "Nothing.")                                                                                  \
    X(log_not_opened, ERROR, "3dc56e3a319e48aaaa22ee134f282c62",                                   \
      "The log file cannot be opened (again). Lines go where they went before.",                   \
      "Look at the path, its directory and their owner; then run msockctl reopen.")                \
    X(lines_lost, WARN, "d688d9dae7e7468fb10a99737fbc0aff",                                        \
      "Nobody read the log, or it could not be written, so lines were dropped. Nothing "           \
      "waits for the log.",                                                                        \
      "Look at the reader of the pipe, the system log, or the free space of the disk.")            \
    X(limit_inherited, WARN, "37ddc12af6844b6bb46c2aa32fbb175f",                                   \
      "msockd was started with a limit of the system that is too tight for it.",                   \
      "Raise the limit for the service (systemd: Limit...=), or in the shell with ulimit.")        \
    X(old_kernel, INFO, "4439a654d31e4e3089fef56656e4d606",                                        \
      "The kernel or a sandbox refuses newer system calls. Older ones do the same work, "          \
      "some of them slower.",                                                                      \
      "Nothing; or allow the calls in the sandbox.")                                               \
    X(no_proc, WARN, "7467332843bc4ea38295630730b4d70b",                                           \
      "/proc is not mounted, so large bodies are copied once more, a Unix socket is for its "      \
      "owner alone, and there is no upgrade.",                                                     \
      "Mount /proc in the chroot or container.")                                                   \
    X(run_dir_changed, WARN, "8db1b32b050b4de5855c88980b09ebe2",                                   \
      "The runtime directory, or a file in it, was removed or replaced by somebody. msockd "       \
      "goes on.",                                                                                  \
      "Keep cleaners of old files away from it. Restart msockd when it suits.")                    \
    X(run_dir_back, NOTICE, "e146ee5d8da14ef99f477c6b7f292633",                                    \
      "The runtime directory is whole again.",                                                     \
      "Nothing.")                                                                                  \
    X(worker_forked, DEBUG, "c39d27e7727b45c986d3e5d2322b3739",                                    \
      "A worker process was started.",                                                             \
      "Nothing.")                                                                                  \
    X(worker_ready, INFO, "711b8bf1a22d41c28f39a33ec721f0ab",                                      \
      "A worker has opened all it needs.",                                                         \
      "Nothing.")                                                                                  \
    X(worker_not_ready, ERROR, "03f66703702742bbb9af515fa59fe72b",                                 \
      "A worker that replaces a dead one was not ready within ready_timeout, and was "             \
      "killed. Another one is tried.",                                                             \
      "Look for a slow disk or a handler that waits at its start; or raise ready_timeout.")        \
    X(worker_silent, DEBUG, "4a75df515fad483ea21816d1213b184f",                                    \
      "A worker could not tell the master that it is ready, since the master is gone.",            \
      "Nothing.")                                                                                  \
    X(worker_died, ERROR, "216eb79e8fe54734bc4cd660ab0122ae",                                      \
      "A worker has died or could not start. It is replaced; messages that were not "              \
      "acknowledged are sent again by their senders.",                                             \
      "msockctl crashes tells where it was and over whose bytes, msockctl events what it "         \
      "did before. Killed by signal 9: look for the kernel's out-of-memory killer (dmesg).")       \
    X(worker_was_reading, ERROR, "a1e4008c17014bc0936de493c6096bd8",                               \
      "The worker that has died was looking at what this connection had sent.",                    \
      "See worker_died. If it happens again with the same peer, its bytes are the cause.")         \
    X(worker_crashed_in, ERROR, "6aa642924f014dcc81a04a62d0f4a558",                                \
      "The functions that the dead worker was in, the innermost first.",                           \
      "Report it with the version and this line. A function of a module is the module's.")         \
    X(source_of_crash, ERROR, "174e6413b2b84b59901438b79c17d4a9",                                  \
      "A worker crashed over what this source had sent, so it is turned away for a minute, "       \
      "then an hour, then a day.",                                                                 \
      "See worker_died. exempt names sources that are never turned away.")                         \
    X(worker_not_started, ERROR, "392051288b0449c8b9e45a08d707bbc1",                               \
      "A worker that has died cannot be replaced now; the reason is in the line. It is "           \
      "tried again.",                                                                              \
      "Look for limits of processes and memory, and for room in the runtime directory.")           \
    X(worker_keeps_dying, ERROR, "722e97eb7ad449d4911f031237bf9a43",                               \
      "A worker dies again and again, so it is replaced with a delay that grows to 10 s.",         \
      "Look at the worker_died lines before, and at msockctl crashes.")                            \
    X(worker_stable, NOTICE, "0ad3f0b565fd4fbabfba0dd803fb3b13",                                   \
      "A worker that kept dying has lived for a while.",                                           \
      "Nothing.")                                                                                  \
    X(worker_left, INFO, "052853046e234553ab5b4d0d43841ded",                                       \
      "A worker of an earlier generation has left, as it was told to.",                            \
      "Nothing.")                                                                                  \
    X(old_worker_died, WARN, "1f57246a560a4aaf99880bb7aeec57c4",                                   \
      "A worker that was leaving has died. Its connections are lost, what was acknowledged "       \
      "is not.",                                                                                   \
      "See worker_died.")                                                                          \
    X(drain_over, WARN, "853502fd3ea5411e85318b72d2e83a4b",                                        \
      "Workers of an earlier generation were not done within drain_timeout, and were "             \
      "killed.",                                                                                   \
      "Raise drain_timeout where messages take longer.")                                           \
    X(too_many_old, WARN, "994976ddba244934ac5975f55d237b3f",                                      \
      "There were many reloads, and workers of earlier generations still drain. The oldest "       \
      "leave now.",                                                                                \
      "Reload less often, or lower drain_timeout.")                                                \
    X(generation_gone, INFO, "482292fff88b4464959e8b05202338c0",                                   \
      "The last worker of an earlier configuration has left.",                                     \
      "Nothing.")                                                                                  \
    X(signal_not_sent, WARN, "2602742763364830b1810f4f4fa0a056",                                   \
      "The master could not signal a worker.",                                                     \
      "Look for a sandbox or a security module that forbids it.")                                  \
    X(statistics_lost, ERROR, "2ede3659d35049359f08a79f414e8a3c",                                  \
      "The file of a dead worker's statistics is damaged, so its numbers are missing in the "      \
      "totals.",                                                                                   \
      "Restart msockd if the totals must be right; look at who may write to the runtime "          \
      "directory.")                                                                                \
    X(draining, INFO, "354958c9f7b043d2b5cb082268688e0a",                                          \
      "A worker finishes the messages under way, gives its connections away or ends them, "        \
      "and leaves.",                                                                               \
      "Nothing.")                                                                                  \
    X(master_gone, WARN, "37faecd3fba34e3c9bc0f2d719794187",                                       \
      "The master was killed. Workers finish what is under way and leave.",                        \
      "Start msockd again. Look for what killed the master (dmesg, the service's log).")           \
    /* listeners and connections */                                                                \
    X(listener_left_out, WARN, "93def0d8b1564f378e552bf5ebf1a3c8",                                 \
      "An address of a listener cannot be used now, for the reason in the line. The others "       \
      "are.",                                                                                      \
      "Mend it, then run msockctl reload.")                                                        \
    X(listener_unchanged, WARN, "c89ed8e2395a48aa985d3cd579ad208d",                                \
      "A property of a listening socket cannot be changed. It stays as it was.",                   \
      "Look at the reason in the line, then run msockctl reload.")                                 \
    X(given_unfit, WARN, "2ebfb6f43e3a4ae88e7bbdfcddbd58c9",                                       \
      "The service manager has given a descriptor that is no stream socket that listens, or too "  \
      "many.",                                                                                     \
      "In the socket unit, use ListenStream= and Accept=no.")                                      \
    X(given_names, WARN, "0a6fc3c7c4e043c8a8c2da3ac125915f",                                       \
      "The service manager has given another number of names than of descriptors.",                \
      "Give each socket one name, without a colon, in FileDescriptorName=.")                       \
    X(given_unused, WARN, "55e875f3bfcb487f8c45568cab1c2107",                                      \
      "The service manager has given sockets that no listener has. Whoever connects there "        \
      "waits.",                                                                                    \
      "Name them in listen (systemd:NAME), or take them out of the socket unit.")                  \
    X(socket_file_gone, WARN, "34783b36a2ff4233b8cafff61ecb3998",                                  \
      "The file of a Unix socket was removed or replaced, so nobody can connect there.",           \
      "Run msockctl reload where it was removed; remove the other file first where there is "      \
      "one.")                                                                                      \
    X(socket_file_back, NOTICE, "551e874a64c644ab90cad5d9f9092540",                                \
      "The file of a Unix socket is there again.",                                                 \
      "Nothing.")                                                                                  \
    X(listener_not_watched, ERROR, "de567345b422436b9af0bbe433acda86",                             \
      "A worker cannot watch a listener, so the other workers take its connections.",              \
      "Raise the limits of epoll (fs.epoll.max_user_watches), then run msockctl reload.")          \
    X(cannot_accept, WARN, "b6925ced699b4ad8b2bf911616d3c98f",                                     \
      "A worker cannot take connections for a moment, for the reason in the line. It tries "       \
      "again.",                                                                                    \
      "Look for limits of memory and of descriptors.")                                             \
    X(worker_cannot_accept, ERROR, "9f41bb0613944b3bb0a79c580d3a7576",                             \
      "A worker cannot begin to take connections, and ends. It is replaced.",                      \
      "Look for limits of memory and of descriptors.")                                             \
    X(no_descriptors, WARN, "b9e51f70769a47fba41b721ab5a6d7ac",                                    \
      "All descriptors are in use, so connections are turned away.",                               \
      "Raise the limit of open files (systemd: LimitNOFILE=), or lower max_connections.")          \
    X(memory_full, WARN, "b014be470a7a4050ae03d18459938a20",                                       \
      "A worker holds worker_memory_max for its peers, so those that read slowly, or say "         \
      "nothing, are closed.",                                                                      \
      "Raise worker_memory_max or workers; or find the slow peers with msockctl conns.")           \
    X(reader_too_slow, WARN, "23868766df0f42038958c5571cad1f99",                                   \
      "Peers did not read what was sent to them, so messages for them are lost, and they "         \
      "are closed.",                                                                               \
      "Look at these peers; or raise send_queue_max.")                                             \
    X(message_too_large, NOTICE, "f976ce555e934149ba2a5d2761a11bba",                               \
      "A peer sent a message over max_message_size, over a protocol that has no word for "         \
      "that.",                                                                                     \
      "Raise max_message_size, or make the peer send less.")                                       \
    X(message_late, NOTICE, "7038213e19254971a2a22ae89388a2c5",                                    \
      "A message came more slowly than timeout and min_rate allow, and was dropped.",              \
      "Look at the peer and its network; or change timeout and min_rate.")                         \
    X(message_cut, NOTICE, "5407eca906d14e3bb04f40fc7687649b",                                     \
      "A peer has gone in the middle of a message, which was dropped.",                            \
      "Look at the peer. It sends the message again if it knows how to.")                          \
    X(message_not_stored, NOTICE, "3553603b9a7544a28a7bea242216f4f7",                              \
      "A message was refused before it was stored: it would take more of the disk than "           \
      "min_free or source_unfinished allow.",                                                      \
      "Make room, or change these options.")                                                       \
    X(tls_handshake, NOTICE, "b224df124e90490fbfe923e711aaa2a7",                                   \
      "A TLS handshake failed, for the reason that the line gives, or did not end in 10 s.",       \
      "Look at the peer: its certificate, its authorities, its version of TLS.")                   \
    X(certificate_ends, WARN, "7de534bbc958012affce632fd978fc97",                                  \
      "The certificate of a listener ends within 14 days; its peers will not take it then.",       \
      "Renew it in its file, and reload. msockctl listeners shows when each ends.")                \
    X(tls_broken, NOTICE, "24d23881255e41d5907601e2f913bc91",                                      \
      "What a peer sent after its handshake was no TLS, or was changed on its way.",               \
      "Look at the peer and at what is between; it sends the message again if it knows how to.")   \
    X(tls_not_spoken, NOTICE, "27381124aa6e4851882a23c839511069",                                  \
      "A connection began as TLS does, on a listener without it.",                                 \
      "Give the listener tls=required, or the peer a URL without +tls.")                           \
    X(proxy_refused, NOTICE, "4e2fb15f89a64ab080d1a9a780cd103a",                                   \
      "A connection to a listener with proxy=required does not begin with a good PROXY "           \
      "header, for the reason in the line, or does not come from a proxy of proxy_from.",          \
      "Look at what the proxy sends (send-proxy, send-proxy-v2), and at proxy_from.")              \
    X(proxy_not_expected, NOTICE, "5884303d4ef2419999860f59d3934d75",                              \
      "A connection has a PROXY header where none is expected: on a listener without "             \
      "proxy=required, or behind the first one. It is taken for bytes of the protocol.",           \
      "Give the listener proxy=required and proxy_from, or look which proxy sends it.")            \
    X(connection_starved, NOTICE, "b890a942b4ff4fd7932b6113ae7cdf1c",                              \
      "A connection was closed, since the system had no memory for it.",                           \
      "Look for limits of memory (systemd: MemoryMax=), and lower worker_memory_max.")             \
    X(reply_unreadable, NOTICE, "24a8902e55214193bccbe28e836a140d",                                \
      "A reply that was kept in a file cannot be read back as it was, so its connection was "      \
      "closed.",                                                                                   \
      "Check the disk of the data directory.")                                                     \
    X(http_request, NOTICE, "d50d507c16db416d96dfc4cddfd45693",                                    \
      "A connection began with an HTTP request, and was closed.",                                  \
      "If it is a health check, use msockctl serve and its /healthz.")                             \
    X(source_penalty, NOTICE, "57fceb3d932248f28577b9b4b7955eac",                                  \
      "A source has made too much trouble, and is turned away for a while.",                       \
      "Look at the peer. exempt names sources that are never turned away; msockctl sources "       \
      "shows them.")                                                                               \
    X(store_failed, ERROR, "9762ce18245244318da721eac2428eb6",                                     \
      "A message that is arriving cannot be stored, so it is refused.",                            \
      "Look at the reason in the line: most often the disk is full, or the directory may "         \
      "not be written.")                                                                           \
    X(handover_lost, ERROR, "247277c62640488d9e8417394fc20acd",                                    \
      "The socket through which connections move at a reload was shut down by a worker that "      \
      "went wrong. At the next reload they end instead.",                                          \
      "Look for worker_died lines. The next reload makes a new one.")                              \
    X(handover_ended, WARN, "4bedfe634299433d9d1d031098b00ad2",                                    \
      "A connection that was to move to a new worker has ended on its way. Its peer "              \
      "connects again.",                                                                           \
      "Nothing, if it is seldom; else look at the reason in the line.")                            \
    X(handover_stopped, ERROR, "4cac00f6c04044c5b082a96e56f70022",                                 \
      "A worker cannot take over connections any more.",                                           \
      "Run msockctl reload.")                                                                      \
    X(sources_not_shown, DEBUG, "115780877b8a4305b57ec7576874bc4b",                                \
      "The worker could not write its table of sources for msockctl.",                             \
      "Look for room in the runtime directory.")                                                   \
    /* journal and data directory */                                                               \
    X(fs_lacks, NOTICE, "b2edc1b3f3b4471f85fa42fa34cdd7a0",                                        \
      "The file system of the data directory cannot do something that msockd would use. It "       \
      "does without, as the line says.",                                                           \
      "Choose a local file system such as ext4 or XFS for the data directory.")                    \
    X(fs_differs, INFO, "f06653940e2f4d4aad42b2a8b490b840",                                        \
      "The file system of the data directory does something in another way, at most slower.",      \
      "Nothing.")                                                                                  \
    X(fs_not_tried, WARN, "ae085ea656f54662a2be0bf8ece5ee1e",                                      \
      "The disk is full, so msockd could not try what its file system can do.",                    \
      "Make room on the disk.")                                                                    \
    X(journal_trouble, ERROR, "fb4a7ed440344e27a71e0d8eea6f5a76",                                  \
      "The journal cannot be written, so messages are refused.",                                   \
      "Look at the reason in the line: make room, check the disk and its mount; msockctl "         \
      "doctor helps.")                                                                             \
    X(journal_again, NOTICE, "293000266c6c4b3191de9baa3d53ece9",                                   \
      "The journal can be written again.",                                                         \
      "Nothing.")                                                                                  \
    X(segment_left, WARN, "fd5ab1c66cf4454ea0c7168e2629ed91",                                      \
      "A segment of the journal could not be written to its end, and the next records go to "      \
      "a new one.",                                                                                \
      "Check the disk. Read only the segments that msockctl segments --finished prints.")          \
    X(clock_behind, NOTICE, "e0a6ce08069146adb0702b91c44a49f6",                                    \
      "The clock is behind the newest record, so ids go on from there.",                           \
      "Set the clock, and look at its synchronization.")                                           \
    X(journal_damaged, WARN, "fb422297825a4113994ccba622c95c79",                                   \
      "Bytes in a segment of the journal were damaged. They are kept apart, and the whole "        \
      "records beside them stay.",                                                                 \
      "Run msockctl verify, and check the disk and the memory.")                                   \
    X(journal_torn, NOTICE, "8d0c79984d3c460e86d3f531b1f3a7f1",                                    \
      "A crash left a part of a line at the end of a segment. It was never acknowledged, "         \
      "and is cut off.",                                                                           \
      "Nothing.")                                                                                  \
    X(journal_not_recovered, WARN, "17bb70937ccd46d6b9123e7175927584",                             \
      "What a crash may have left cannot be looked at, for the reason in the line.",               \
      "Mend it, then run msockctl reload, and msockctl verify.")                                   \
    X(leftovers_removed, NOTICE, "5465f3ebdd064c1d9c12638b907df2d4",                               \
      "Temporary files of a worker that has crashed were removed.",                                \
      "Nothing.")                                                                                  \
    X(leftovers_kept, WARN, "7077e426f41c44f8aa44fb41df778f71",                                    \
      "Temporary files have other names that the file system does not count.",                     \
      "Check the file system with fsck.")                                                          \
    X(segments_foreign, NOTICE, "03c39d10451d4ee983b63814e0713f78",                                \
      "Segments belong to another user, so this worker leaves them alone.",                        \
      "Give the data directory and all in it to the workers' user.")                               \
    X(recall_gap, WARN, "544123d9763940e78f0a5485ddf563ea",                                        \
      "The journal cannot be searched for ids, so a message that is sent again may get a "         \
      "second record.",                                                                            \
      "Mend the reason in the line; consumers can tell doubles by their key.")                     \
    X(recall_waits, NOTICE, "cc4082d17058459a9ad6305da9988bc5",                                    \
      "Workers of a msockd that was killed are still there, or another msockd has the same "       \
      "data_dir. Messages with ids wait until they have left.",                                    \
      "Nothing, or end these workers; give each msockd a data_dir of its own.")                    \
    X(body_not_removed, WARN, "06f206e2cc234c449745be1a5eb2adfe",                                  \
      "A body that retain should remove cannot be removed. It is tried again.",                    \
      "Look at the reason in the line.")                                                           \
    /* relay and NATS */                                                                           \
    X(relay_begins_anew, NOTICE, "2cc8ef03fd8c408883b90f6f4b041e26",                               \
      "There is no position of the relay, so it begins at the beginning of the journal.",          \
      "Nothing at the first start; else records that are older than the stream's duplicate "       \
      "window get there twice.")                                                                   \
    X(relay_lost, WARN, "961d76dbade94a018b7b1079bd670790",                                        \
      "A segment was taken away before it was relayed, so its records never get to the "           \
      "stream.",                                                                                   \
      "Take away only what msockctl relay has passed, or leave it to retain.")                     \
    X(relay_cannot_read, WARN, "708cbc9c244a43edacfe57348ca1b340",                                 \
      "The relay cannot read a segment, for the reason in the line. It tries again.",              \
      "Look at the file and the disk.")                                                            \
    X(relay_passes_damage, WARN, "ee7214b61c1c4ada9b9685555d5d913a",                               \
      "The relay passes over damaged bytes of the journal.",                                       \
      "Run msockctl verify.")                                                                      \
    X(relay_again, NOTICE, "09dff8b75525474d9a005f5942611d6f",                                     \
      "The stream takes records again.",                                                           \
      "Nothing.")                                                                                  \
    X(relay_without_nats, WARN, "5232a238452945169a647d6259019c28",                                \
      "No server of the cluster answers the relay. It tries again, and the journal keeps "         \
      "what comes.",                                                                               \
      "Look at the cluster, its addresses and the network.")                                       \
    X(relay_without_journal, WARN, "52fb91f1d0514f318fc5481b67bce267",                             \
      "There is a relay, and no listener has handler=journal: only what is in the journal already "\
      "is relayed.",                                                                               \
      "Give a listener handler=journal, or take the option relay away.")                           \
    X(relay_follows, INFO, "61af648359534f57a2a3c10cef923dd4",                                     \
      "The relay has the lock of its position, and begins.",                                       \
      "Nothing.")                                                                                  \
    X(relay_waits, WARN, "05247687fc944a7696cb8695b4017bb0",                                       \
      "The relay cannot begin yet, most often since another one has its lock.",                    \
      "Nothing after a reload; else look for a second msockd on this data directory.")             \
    X(relay_stalled, WARN, "c10f7bb5ccdb414faa2d4899dc78f73f",                                     \
      "The relay cannot go on, for the reason in the line. It tries again, and nothing is "        \
      "lost.",                                                                                     \
      "msockctl relay shows it. Mend the stream, the account or the disk that the line "           \
      "names.")                                                                                    \
    X(position_saved, NOTICE, "5863c69b687d4421be39d813ad277128",                                  \
      "The relay's position can be saved again.",                                                  \
      "Nothing.")                                                                                  \
    X(window_too_short, WARN, "ed74766dd6ff475db8e5c95d1dfa717a",                                  \
      "The stream remembers ids for less time than the worst restart takes, so it may get a "      \
      "record twice then.",                                                                        \
      "Give the stream a larger duplicate window.")                                                \
    X(retained, INFO, "b7fd18db4de5429e9bd04c5b74b1000f",                                          \
      "What was relayed and is older than retain_min was removed.",                                \
      "Nothing.")                                                                                  \
    X(nats_connected, NOTICE, "fa2ca602ea994492bb2885c02febaaf5",                                  \
      "The connection to the cluster is there (again).",                                           \
      "Nothing.")                                                                                  \
    X(nats_trouble, WARN, "decea13b4d5447feb453fb2a4b10974a",                                      \
      "The cluster is away, slow, or says no; the line has its words. Messages wait, and "         \
      "are published when it is back.",                                                            \
      "Look at the cluster and the network.")                                                      \
    X(nats_stream_wrong, ERROR, "53a76d5d9f614247ad04a22a63ab3f2f",                                \
      "The stream does not exist, or not as the configuration needs it.",                          \
      "Make or change the stream, or the options of the listener or relay.")                       \
    X(nats_stored, DEBUG, "758521dae00f430b9be37ff6dc9ce1c8",                                      \
      "A message has its number in the stream.",                                                   \
      "Nothing.")                                                                                  \
    /* programs and modules */                                                                     \
    X(exec_failed, WARN, "3e2d411c55354fc0a46c946d333f5851",                                       \
      "A program of the handler exec has failed, and its message was refused; the line has "       \
      "its last words.",                                                                           \
      "Try the command of the listener by hand, as the workers' user.")                            \
    X(exec_helper_gone, ERROR, "e96a6cfc5c51440cbd4628d13f5d4902",                                 \
      "The process that starts the programs of the handler exec for a worker has died, or does "   \
      "not answer. The worker is replaced.",                                                       \
      "Find out who has ended or stopped it, such as the kernel where memory was short.")          \
    X(exec_says, INFO, "82ec2c009d814431bdbd92081c104d27",                                         \
      "What a program of the handler exec has written to its standard error.",                     \
      "It is the program's word.")                                                                 \
    X(module_says, NOTICE, "51e96ab06ca2436e8f95856fe90d397e",                                     \
      "A module has logged this, at a level of its own.",                                          \
      "It is the module's word.")                                                                  \
    X(module_wrong, ERROR, "8da1414aacf9418abf6489dd6b956fee",                                     \
      "A module has broken a rule of msock_module.h. msockd goes on, and says so once.",           \
      "Mend the module.")
/* clang-format on */

enum log_kind {
#define X(name, level, message_id, means, remedy) LOG_##name,
    LOG_KINDS(X)
#undef X
        LOG_KIND_END
};

#endif
