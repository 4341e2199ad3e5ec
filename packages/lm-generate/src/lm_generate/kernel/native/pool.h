// Threads that share the chunks of a job: parallel(work, argument, chunks) calls work(argument, chunk, thread) for every
// chunk and returns when all are done.
//
// Each thread has a share of the chunks, one behind the other, and claims them one at a time; then it claims what is left
// of the others' shares. So a thread reads its part of a matrix from end to end, which memory is fastest at, and a thread
// that the system has taken off its core is never waited for, unless it holds a chunk: on a busy machine two threads are
// at worst about as fast as one. The caller works too.
// Helpers spin for some microseconds after a job, since the next one usually follows at once, and then sleep.
// A caller must hold the lock that lm_generate/kernel/native.py takes: there is one pool in a process.
#pragma once
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

enum { MOST_THREADS = 64, SPINS = 4000, SPINS_BEFORE_YIELD = 2000, CHUNK_BITS = 18 };
static const uint64_t MOST_CHUNKS = (UINT64_C(1) << CHUNK_BITS) - 1;

typedef void (*Work)(const void *argument, long chunk, int thread);

typedef struct {
    // The job's number, the end of the share, and its next chunk that nobody has claimed, from the highest bits down.
    _Alignas(64) _Atomic(uint64_t) ticket;
} Share;

static struct {
    Share shares[MOST_THREADS];  // each on a line of the cache of its own, like what follows
    _Alignas(64) _Atomic(Work) work;
    _Atomic(const void *) argument;
    _Atomic(int) threads, asleep;
    _Alignas(64) _Atomic(long) done;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    uint64_t job;
    int helpers;
    pid_t owner;  // a fork takes no threads along
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

// Works on one chunk of a share. 0 when there is none left to claim.
static int work_on_one(int share, int thread) {
    _Atomic(uint64_t) *place = &pool.shares[share].ticket;
    uint64_t ticket = atomic_load(place);
    uint64_t chunk = ticket & MOST_CHUNKS, end = ticket >> CHUNK_BITS & MOST_CHUNKS;
    if (chunk >= end) return 0;
    Work work = atomic_load(&pool.work);
    const void *argument = atomic_load(&pool.argument);
    // Succeeds only if no other job has begun since the ticket was read, so `work` and `argument` are this job's.
    if (atomic_compare_exchange_strong(place, &ticket, ticket + 1)) {
        work(argument, (long)chunk, thread);
        atomic_fetch_add(&pool.done, 1);
    }
    return 1;
}

// Works on a thread's own share, then on the others'. 0 when there was nothing to do.
static int work_on_all(int thread, int threads) {
    int found = 0;
    for (int i = 0; i < threads; i++)
        while (work_on_one((thread + i) % threads, thread)) found = 1;
    return found;
}

static int is_needed(int thread) {
    int threads = atomic_load(&pool.threads), left = 0;
    for (int i = 0; i < threads; i++) {
        uint64_t ticket = atomic_load(&pool.shares[i].ticket);
        left |= (ticket & MOST_CHUNKS) < (ticket >> CHUNK_BITS & MOST_CHUNKS);
    }
    return thread < threads && left;
}

static void *help(void *number) {
    int thread = (int)(intptr_t)number;
    for (;;) {
        for (int spin = 0; spin < SPINS; spin++) {
            int threads = atomic_load(&pool.threads);
            if (thread < threads && work_on_all(thread, threads)) spin = 0;
            relax();
        }
        pthread_mutex_lock(&pool.lock);
        atomic_fetch_add(&pool.asleep, 1);  // before it looks: whoever hands out a job from now on wakes it
        while (!is_needed(thread)) pthread_cond_wait(&pool.wake, &pool.lock);
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
    int threads = atomic_load(&pool.threads);
    if (chunks == 1 || threads == 1 || chunks > (long)MOST_CHUNKS) {
        for (long chunk = 0; chunk < chunks; chunk++) work(argument, chunk, 0);
        return;
    }
    pool.job++;
    atomic_store(&pool.work, work);  // every share of the last job is at its end, so nobody acts on these before the tickets
    atomic_store(&pool.argument, argument);
    atomic_store(&pool.done, 0);
    for (int i = threads - 1; i >= 0; i--) {
        uint64_t first = (uint64_t)(chunks * i / threads), end = (uint64_t)(chunks * (i + 1) / threads);
        atomic_store(&pool.shares[i].ticket, pool.job << 2 * CHUNK_BITS | end << CHUNK_BITS | first);
    }
    if (atomic_load(&pool.asleep)) {
        pthread_mutex_lock(&pool.lock);
        pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.lock);
    }
    work_on_all(0, threads);
    for (int spin = 0; atomic_load(&pool.done) < chunks; spin++) {
        relax();
        if (spin > SPINS_BEFORE_YIELD) sched_yield();
    }
}
