/* What /proc says about processes: independent of the daemon's own figures. */
#ifndef SYSTEM_PROC_H
#define SYSTEM_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PROC_MAX 256

struct proc_list {
    size_t count;
    pid_t pid[PROC_MAX];
};

/* The children of a process that are not zombies, by pid. */
void proc_children(pid_t parent, struct proc_list *list_out);

bool proc_list_equal(const struct proc_list *a, const struct proc_list *b);
bool proc_list_has(const struct proc_list *list, pid_t pid);

/* False for zombies too. */
bool proc_alive(pid_t pid);

/* User and system time so far, in clock ticks (sysconf(_SC_CLK_TCK) a second); 0 where it is
 * gone. */
uint64_t proc_cpu_ticks(pid_t pid);

/* Open descriptors, or -1: it is gone, or (once said aloud) we may not look. */
int proc_descriptors(pid_t pid);

/* Bytes of memory that are its own, without mapped files; 0 where it is gone. */
uint64_t proc_memory(pid_t pid);

/* The most that it ever had, with what it maps of files; 0 where it is gone. */
uint64_t proc_memory_peak(pid_t pid);

/* May /proc tell of its descriptors? Before Linux 6.2 it tells root alone of those of workers: they
 * cannot be dumped. */
bool proc_may_look(pid_t pid);

/* SIGSTOP and SIGCONT. They return when it stands still, or goes on again. */
void proc_stop(pid_t pid);
void proc_go_on(pid_t pid);

/* The same for all of a list. A worker that stands still takes no connection. */
void proc_stop_all(const struct proc_list *list);
void proc_go_on_all(const struct proc_list *list);

/* The number behind "Name:" in /proc/PID/status. */
uint64_t proc_status(pid_t pid, const char *name, int base);

#endif
