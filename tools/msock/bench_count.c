/* Messages of a connection, from their beginning to what they count for. */
#include "bench_load.h"

static uint64_t *
conn_stamp(const struct conn *conn, uint64_t seq)
{
    uint32_t ahead = conn->load->options->ahead;

    return &conn->stamps[seq % (ahead > 0 ? ahead : 1)];
}

uint32_t
conn_begin(struct conn *conn, uint32_t wanted)
{
    struct load *load = conn->load;
    uint64_t waiting = conn->begun_seq - conn->next_seq;
    uint32_t again = waiting < wanted ? (uint32_t)waiting : wanted;
    uint32_t fresh = load_take(load, conn, wanted - again);

    if (again + fresh == 0)
        return 0;
    if (conn->next_seq == conn->done_seq)
        conn->heard_ns = load->now_ns;
    for (uint32_t i = 0; i < fresh; i++)
        *conn_stamp(conn, conn->begun_seq++) = load->now_ns;
    conn->next_seq += again + fresh;
    return again + fresh;
}

void
conn_count(struct conn *conn, uint64_t seq)
{
    struct load *load = conn->load;

    conn->counts.messages++;
    if (load->phase != LOAD_MEASURE)
        return;
    load->result->messages++;
    histogram_add(&load->result->latency_ns, load->now_ns - *conn_stamp(conn, seq));
}

void
conn_settle(struct conn *conn)
{
    conn->done_seq++;
    conn->load->open_messages--;
    conn->failures = 0;
    conn->trouble_ns = 0;
}

void
conn_commit(struct conn *conn)
{
    conn_count(conn, conn->done_seq);
    conn_settle(conn);
}

void
conn_replied(struct conn *conn, bool right)
{
    if (right)
        conn_count(conn, conn->done_seq);
    else
        conn->load->result->bad_replies++;
    conn_settle(conn);
}

void
conn_bad_answer(struct conn *conn)
{
    conn->load->result->bad_answers++;
    conn_lose(conn, true);
}
