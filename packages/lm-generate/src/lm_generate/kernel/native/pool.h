// Threads that share the chunks of a job: parallel(threads, work, argument, chunks) calls work(argument, chunk, thread)
// for every chunk and returns when all are done.
//
// Chunks are claimed one at a time, and the caller claims too. A helper that the system has taken off its core is
// therefore never waited for, unless it holds a chunk: on a busy machine two threads are at worst about as fast as one.
// Helpers spin for some microseconds after a job, since the next one usually follows at once, and then sleep.
// A caller must hold the lock that lm_generate/kernel/native.py takes: there is one pool in a process.
#pragma once
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

enum { MOST_THREADS = 64, SPINS = 4000, SPINS_BEFORE_YIELD = 2000 };

typedef void (*Work)(const void *argument, long chunk, int thread);

static struct {
    _Atomic(uint64_t) ticket;  // the job's number in the high half, the next free chunk in the low one
    _Atomic(Work) work;
    _Atomic(const void *) argument;
    _Atomic(long) chunks, done;
    _Atomic(int) threads, asleep;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int helpers;
    pid_t owner;  // a fork takes no threads along
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

// Works on one chunk of the current job. 0 when there is none left to claim.
static int work_on_one(int thread) {
    uint64_t ticket = atomic_load(&pool.ticket);
    Work work = atomic_load(&pool.work);
    const void *argument = atomic_load(&pool.argument);
    long chunk = (long)(ticket & UINT32_MAX);
    if (chunk >= atomic_load(&pool.chunks)) return 0;
    // Succeeds only if no other job has begun since the ticket was read, so `work` and `argument` are this job's.
    if (atomic_compare_exchange_strong(&pool.ticket, &ticket, ticket + 1)) {
        work(argument, chunk, thread);
        atomic_fetch_add(&pool.done, 1);
    }
    return 1;
}

static void *help(void *number) {
    int thread = (int)(intptr_t)number;
    for (;;) {
        for (int spin = 0; spin < SPINS; spin++) {
            if (thread < atomic_load(&pool.threads) && work_on_one(thread)) spin = 0;
            relax();
        }
        pthread_mutex_lock(&pool.lock);
        uint64_t job = atomic_load(&pool.ticket) >> 32;
        atomic_fetch_add(&pool.asleep, 1);
        int idle = thread >= atomic_load(&pool.threads) ||
                   (long)(atomic_load(&pool.ticket) & UINT32_MAX) >= atomic_load(&pool.chunks);
        while (idle && atomic_load(&pool.ticket) >> 32 == job) pthread_cond_wait(&pool.wake, &pool.lock);
        atomic_fetch_sub(&pool.asleep, 1);
        pthread_mutex_unlock(&pool.lock);
    }
    return 0;
}

static void use_threads(int threads) {
    if (pool.owner != getpid()) {
        pthread_mutex_init(&pool.lock, 0);
        pthread_cond_init(&pool.wake, 0);
        atomic_store(&pool.asleep, 0);
        pool.helpers = 0;
        pool.owner = getpid();
    }
    if (threads > MOST_THREADS) threads = MOST_THREADS;
    while (pool.helpers + 1 < threads) {
        pthread_t made;
        if (pthread_create(&made, 0, help, (void *)(intptr_t)(pool.helpers + 1))) break;  // fewer will do
        pthread_detach(made);
        pool.helpers++;
    }
    atomic_store(&pool.threads, threads);
}

static void parallel(Work work, const void *argument, long chunks) {
    if (chunks == 1 || atomic_load(&pool.threads) == 1) {
        for (long chunk = 0; chunk < chunks; chunk++) work(argument, chunk, 0);
        return;
    }
    uint64_t job = (atomic_load(&pool.ticket) >> 32) + 1;
    atomic_store(&pool.work, work);  // the last job has no chunk left, so nobody acts on these before the ticket
    atomic_store(&pool.argument, argument);
    atomic_store(&pool.done, 0);
    // All of the old job's chunks are claimed, and its ticket stays above the new count only if this comes after it.
    atomic_store(&pool.ticket, job << 32 | UINT32_MAX);
    atomic_store(&pool.chunks, chunks);
    atomic_store(&pool.ticket, job << 32);
    if (atomic_load(&pool.asleep)) {
        pthread_mutex_lock(&pool.lock);
        pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.lock);
    }
    while (work_on_one(0)) {
    }
    for (int spin = 0; atomic_load(&pool.done) < chunks; spin++) {
        relax();
        if (spin > SPINS_BEFORE_YIELD) sched_yield();
    }
}
