// One pass of a transformer over rows of new tokens: lm_core/transformer.py's formula, for decoding on a CPU.
//
//     lm_step(model, rows, count, logits, threads)
//
// A row is one new token of one text: its id, its position, and where the text's keys and values lie (lm_core's KVCache of
// a batch of one). Rows of a text that follow each other in one pass are in the order of their positions. Keys and values
// are stored, and the logits of the rows that want them are written one behind the other.
//
// The bits of a row do not depend on the other rows, their number, or the number of threads: see vector.h.
#include <stdlib.h>

#include "linear.h"
#include "norm.h"
#include "pool.h"
#include "whole.h"

enum Activation { SWIGLU = 0, GELU = 1, RELU2 = 2, SILU = 3 };

typedef struct {
    Norm attention_norm, q_norm, k_norm, feed_forward_norm;
    Matrix q, k, v, o, gate, up, down;
} Layer;

typedef struct {
    int32_t n_layers, d_model, n_heads, n_kv_heads, d_head, d_ff, activation, window;  // window 0: none
    float softcap;                                                                       // 0: none
    Matrix embedding, head;
    const float *positions;   // (context, d_model), added to the embedding; or null
    const float *cos, *sin;  // (context, d_head), sin with its first half negated; or null
    Norm norm;
    const Layer *layers;
} Model;

typedef struct {
    int32_t id, position, capacity, wanted;
    float *keys, *values;  // (n_layers, n_kv_heads, capacity, d_head)
} Row;

typedef struct {
    const Model *model;
    const Row *rows;
    int count, wanted, layer;
    float *x;       // (count, d_model), the stream
    float *normed;  // (count, d_model)
    float *q, *k, *v;  // (count, heads * d_head)
    float *seen;       // (count, n_heads * d_head)
    float *gate, *up;  // (count, d_ff)
    float *wide;         // per thread: TILE rows of the widest matrix; PANEL rows of shorts for int8
    float *scores;       // per thread: (longest text)
    const float *input;  // (count, width): what is rounded next
    long width;
    float *shorts;    // room for rounded.numbers
    Rounded rounded;  // the rows of `input` as whole numbers, where the next matrix is int8
    float *logits;       // (wanted, vocab_size)
    long wide_size, scores_size;
} Pass;

static void embed_row(const void *argument, long row, int thread) {
    (void)thread;
    const Pass *p = argument;
    const Model *m = p->model;
    const Matrix *table = &m->embedding;
    float *x = p->x + row * m->d_model;
    const Row *r = &p->rows[row];
    const char *weight = (const char *)table->weight + (long)r->id * m->d_model * bytes_of(table->storage);
    for (long i = 0; i < m->d_model; i++) {
        if (table->storage == FLOAT32) x[i] = ((const float *)weight)[i];
        else if (table->storage == INT8) x[i] = (float)((const int8_t *)weight)[i] * table->scale[r->id];
        else if (table->storage == FLOAT16) x[i] = from_half(((const uint16_t *)weight)[i]);
        else {
            uint32_t bits = (uint32_t)((const uint16_t *)weight)[i] << 16;
            memcpy(&x[i], &bits, sizeof bits);
        }
        if (m->positions) x[i] += m->positions[(long)r->position * m->d_model + i];
    }
}

static void norm_before_attention(const void *argument, long row, int thread) {
    (void)thread;
    const Pass *p = argument;
    long d = p->model->d_model;
    normalise(&p->model->layers[p->layer].attention_norm, p->x + row * d, p->normed + row * d, d);
}

static void norm_before_feed_forward(const void *argument, long row, int thread) {
    (void)thread;
    const Pass *p = argument;
    long d = p->model->d_model;
    normalise(&p->model->layers[p->layer].feed_forward_norm, p->x + row * d, p->normed + row * d, d);
}

static void round_one(const void *argument, long row, int thread) {
    (void)thread;
    const Pass *p = argument;
    round_row(p->input + row * p->width, p->width, p->rounded.numbers + row * p->rounded.stride, p->rounded.scales + row);
}

// Rounds the rows that an int8 matrix reads next; nothing for others.
static void round_for(Pass *p, const Matrix *m, const float *input, int rows) {
    if (m->storage != INT8) return;
    p->input = input;
    p->width = m->d_in;
    p->rounded.stride = whole_stride(m->d_in);
    parallel(round_one, p, rows);
}

static void multiply(const Pass *p, const Matrix *m, long first, long last, int rows, const float *x, float *y, int add,
                     int thread) {
    float *wide = p->wide + thread * p->wide_size;
    if (m->storage == INT8) linear_whole(m, first, last, rows, &p->rounded, y, m->d_out, add, (int16_t *)wide);
    else linear(m, first, last, rows, x, y, m->d_out, add, wide);
}

// One chunk of a matrix: its outputs first .. last for all rows.
static void chunk_of(const Pass *p, const Matrix *m, long chunk, const float *x, float *y, int add, int thread) {
    long first = chunk * chunk_outputs(m), last = first + chunk_outputs(m);
    if (last > m->d_out) last = m->d_out;
    multiply(p, m, first, last, p->count, x, y, add, thread);
}

static void project(const void *argument, long chunk, int thread) {
    const Pass *p = argument;
    const Layer *layer = &p->model->layers[p->layer];
    const Matrix *parts[] = {&layer->q, &layer->k, &layer->v};
    float *results[] = {p->q, p->k, p->v};
    for (int i = 0; i < 3; i++) {
        long chunks = chunk_count(parts[i]);
        if (chunk < chunks) {
            chunk_of(p, parts[i], chunk, p->normed, results[i], 0, thread);
            return;
        }
        chunk -= chunks;
    }
}

static void turn(const Model *m, const Norm *norm, long position, int heads, float *x) {
    long d = m->d_head, half = d / 2;
    for (int head = 0; head < heads; head++, x += d) {
        if (norm->weight) normalise(norm, x, x, d);
        if (!m->cos) continue;
        const float *cos = m->cos + position * d, *sin = m->sin + position * d;
        for (long i = 0; i < half; i++) {
            float first = x[i], second = x[i + half];
            x[i] = first * cos[i] + second * sin[i];
            x[i + half] = second * cos[i + half] + first * sin[i + half];
        }
    }
}

// Normalises and rotates a row's queries and keys, and puts its keys and values into the text's cache.
static void remember(const void *argument, long row, int thread) {
    (void)thread;
    const Pass *p = argument;
    const Model *m = p->model;
    const Layer *layer = &m->layers[p->layer];
    const Row *r = &p->rows[row];
    long d = m->d_head, kv = m->n_kv_heads * d;
    float *k = p->k + row * kv, *v = p->v + row * kv;
    turn(m, &layer->q_norm, r->position, m->n_heads, p->q + row * m->n_heads * d);
    turn(m, &layer->k_norm, r->position, m->n_kv_heads, k);
    for (long head = 0; head < m->n_kv_heads; head++) {
        long place = ((p->layer * m->n_kv_heads + head) * r->capacity + r->position) * d;
        memcpy(r->keys + place, k + head * d, (size_t)d * sizeof(float));
        memcpy(r->values + place, v + head * d, (size_t)d * sizeof(float));
    }
}

// out = sum over keys of weights[t] v[t]; each number of out adds up in the order of the keys.
INLINE void mix(const float *weights, const float *values, long keys, long d, float *out) {
    long i = 0;
    for (; i + 2 * LANES <= d; i += 2 * LANES) {
        Vector a = {0}, b = {0};
        for (long t = 0; t < keys; t++) {
            a += weights[t] * load(values + t * d + i);
            b += weights[t] * load(values + t * d + i + LANES);
        }
        store(out + i, a);
        store(out + i + LANES, b);
    }
    for (; i < d; i++) {
        float sum = 0;
        for (long t = 0; t < keys; t++) sum += weights[t] * values[t * d + i];
        out[i] = sum;
    }
}

// softmax(q . K / sqrt(d_head)) V for one row and one head.
static void attend(const void *argument, long chunk, int thread) {
    const Pass *p = argument;
    const Model *m = p->model;
    long row = chunk / m->n_heads, head = chunk % m->n_heads, d = m->d_head;
    const Row *r = &p->rows[row];
    long first = m->window && r->position >= m->window ? r->position - m->window + 1 : 0;
    long keys = r->position + 1 - first, kv_head = head / (m->n_heads / m->n_kv_heads);
    long place = ((p->layer * m->n_kv_heads + kv_head) * r->capacity + first) * d;
    const float *q = p->q + (row * m->n_heads + head) * d, *k = r->keys + place;
    float *scores = p->scores + thread * p->scores_size, scale = 1 / sqrtf((float)d);
    float *out = p->seen + (row * m->n_heads + head) * d;
    const float *values = r->values + place;
    for (long t = 0; t < keys; t++) {  // asks for the values on the way: they lie where the weights have pushed them out
        for (long i = 0; i < d; i += LINE / 4) {
            __builtin_prefetch(k + (t + 16) * d + i, 0, 3);
            __builtin_prefetch(values + t * d + i, 0, 3);
        }
        scores[t] = dot(q, k + t * d, d) * scale;
    }
    Vector highest = all(-INFINITY), total = {0};
    long whole = keys / LANES * LANES, padded = (keys + LANES - 1) / LANES * LANES;
    for (long t = keys; t < padded; t++) scores[t] = -INFINITY;
    for (long t = 0; t < padded; t += LANES) highest = largest(highest, load(scores + t));
    float top = highest[0];
    for (int i = 1; i < LANES; i++) top = highest[i] > top ? highest[i] : top;
    for (long t = 0; t < padded; t += LANES) {
        store(scores + t, exponential(load(scores + t) - top));
        if (t == whole)
            for (long i = keys; i < padded; i++) scores[i] = 0;
        total += load(scores + t);
    }
    mix(scores, values, keys, d, out);
    float inverse = 1 / sum_lanes(total);
    for (long i = 0; i < d; i++) out[i] *= inverse;
}

static void add_attention(const void *argument, long chunk, int thread) {
    const Pass *p = argument;
    chunk_of(p, &p->model->layers[p->layer].o, chunk, p->seen, p->x, 1, thread);
}

INLINE Vector activated(int activation, Vector x) {
    if (activation == RELU2) {
        Vector kept = largest(x, (Vector){0});
        return kept * kept;
    }
    if (activation == GELU)  // 0.5 (1 + tanh(y)) = sigmoid(2 y)
        return x * sigmoid(1.5957691216f * (x + 0.044715f * x * x * x));
    return x * sigmoid(x);
}

static void expand(const void *argument, long chunk, int thread) {
    const Pass *p = argument;
    const Model *m = p->model;
    const Layer *layer = &m->layers[p->layer];
    const Matrix *up = &layer->up;
    chunk_of(p, up, chunk, p->normed, p->up, 0, thread);
    if (layer->gate.weight) chunk_of(p, &layer->gate, chunk, p->normed, p->gate, 0, thread);
    long first = chunk * chunk_outputs(up), last = first + chunk_outputs(up);
    if (last > m->d_ff) last = m->d_ff;
    for (long row = 0; row < p->count; row++) {
        float *inner = p->up + row * m->d_ff;
        const float *gate = layer->gate.weight ? p->gate + row * m->d_ff : inner;
        long i = first;
        for (; i + LANES <= last; i += LANES) {
            Vector opened = activated(m->activation, load(gate + i));
            store(inner + i, layer->gate.weight ? opened * load(inner + i) : opened);
        }
        if (i == last) continue;
        Vector opened = activated(m->activation, load_some(gate + i, last - i));
        if (layer->gate.weight) opened *= load_some(inner + i, last - i);
        memcpy(inner + i, &opened, (size_t)(last - i) * sizeof(float));
    }
}

static void add_feed_forward(const void *argument, long chunk, int thread) {
    const Pass *p = argument;
    chunk_of(p, &p->model->layers[p->layer].down, chunk, p->up, p->x, 1, thread);
}

static void write_logits(const void *argument, long chunk, int thread) {
    const Pass *p = argument;
    const Matrix *head = &p->model->head;
    long first = chunk * chunk_outputs(head), last = first + chunk_outputs(head);
    if (last > head->d_out) last = head->d_out;
    multiply(p, head, first, last, p->wanted, p->normed, p->logits, 0, thread);
    float cap = p->model->softcap;
    if (cap == 0) return;
    for (long row = 0; row < p->wanted; row++)
        for (long i = first; i < last; i++) {
            float *logit = p->logits + row * head->d_out + i;
            *logit = cap * tanhf(*logit / cap);
        }
}

static long matrix_bytes(const Matrix *m) { return m->weight ? (long)m->d_out * m->d_in * bytes_of(m->storage) : 0; }

// Whether the weights that a pass reads are at most twice a usual last cache. (What systems say of theirs is often wrong.)
static int stays_in_cache(const Model *m) {
    long bytes = matrix_bytes(&m->head);
    for (const Layer *l = m->layers; l < m->layers + m->n_layers; l++)
        bytes += matrix_bytes(&l->q) + matrix_bytes(&l->k) + matrix_bytes(&l->v) + matrix_bytes(&l->o) + matrix_bytes(&l->gate) +
                 matrix_bytes(&l->up) + matrix_bytes(&l->down);
    return bytes <= 64 << 20;
}

static long most(long a, long b) { return a > b ? a : b; }

// So many floats, rounded up to whole lines of the cache.
static long lines(long floats) { return (floats + LINE / 4 - 1) / (LINE / 4) * (LINE / 4); }

// 0, or 1 where memory ran out; then nothing has been computed.
int lm_step(const Model *m, const Row *rows, int count, float *logits, int threads) {
    use_threads(threads);
    threads = pool.helpers + 1 > MOST_THREADS ? MOST_THREADS : pool.helpers + 1;
    fewest_chunks = most(8, 4L * threads);
    cached = stays_in_cache(m);
    long heads = (long)m->n_heads * m->d_head, kv = (long)m->n_kv_heads * m->d_head, longest = 0;
    for (int i = 0; i < count; i++) longest = most(longest, rows[i].position + 1);
    Pass p = {.model = m, .rows = rows, .count = count, .logits = logits};
    long widest = most(most(m->d_model, m->d_ff), heads), shorts = m->head.storage == INT8 ? whole_stride(widest) : 0;
    p.wide_size = lines((m->head.storage == INT8 ? PANEL / 2 : TILE) * whole_stride(widest));
    p.scores_size = lines(longest + LANES);
    // Each part begins a line of the cache: a vector that lies across two lines is loaded in twice the time.
    struct {
        float **part;
        long size;
    } parts[] = {
        {&p.x, (long)count * m->d_model},     {&p.normed, (long)count * m->d_model}, {&p.q, count * heads},
        {&p.seen, count * heads},             {&p.k, count * kv},                    {&p.v, count * kv},
        {&p.gate, (long)count * m->d_ff},     {&p.up, (long)count * m->d_ff},        {&p.wide, threads * p.wide_size},
        {&p.scores, threads * p.scores_size}, {&p.rounded.scales, count},            {&p.shorts, count * shorts / 2},
    };
    const long kinds = sizeof parts / sizeof *parts;
    long total = 0;
    for (long i = 0; i < kinds; i++) total += lines(parts[i].size);
    float *memory = aligned_alloc(LINE, (size_t)total * sizeof(float));
    if (!memory) return 1;
    float *next = memory;
    for (long i = 0; i < kinds; i++) {
        *parts[i].part = next;
        next += lines(parts[i].size);
    }
    p.rounded.numbers = (int16_t *)p.shorts;

    parallel(embed_row, &p, count);
    for (p.layer = 0; p.layer < m->n_layers; p.layer++) {
        const Layer *layer = &m->layers[p.layer];
        parallel(norm_before_attention, &p, count);
        round_for(&p, &layer->q, p.normed, count);
        parallel(project, &p, chunk_count(&layer->q) + chunk_count(&layer->k) + chunk_count(&layer->v));
        parallel(remember, &p, count);
        parallel(attend, &p, (long)count * m->n_heads);
        round_for(&p, &layer->o, p.seen, count);
        parallel(add_attention, &p, chunk_count(&layer->o));
        parallel(norm_before_feed_forward, &p, count);
        round_for(&p, &layer->up, p.normed, count);
        parallel(expand, &p, chunk_count(&layer->up));
        round_for(&p, &layer->down, p.up, count);
        parallel(add_feed_forward, &p, chunk_count(&layer->down));
    }
    for (int i = 0; i < count; i++)
        if (rows[i].wanted) normalise(&m->norm, p.x + (long)i * m->d_model, p.normed + p.wanted++ * (long)m->d_model, m->d_model);
    round_for(&p, &m->head, p.normed, p.wanted);
    if (p.wanted) parallel(write_logits, &p, chunk_count(&m->head));
    free(memory);
    return 0;
}
