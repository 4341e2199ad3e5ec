// y = x W^T, scaled and shifted: rows of x times a matrix kept in float32, bfloat16 or float16. int8 is in whole.h.
#pragma once
#include "vector.h"

typedef struct {
    const void *weight;  // (d_out, d_in), rows one behind the other
    const float *scale;  // (d_out): what the sums of int8 weights are multiplied by; null otherwise
    const float *bias;   // (d_out) or null
    int32_t storage, d_out, d_in;
} Matrix;

// A tile: sums of `outputs` rows of W from `first` on with `rows` rows of x. All in registers, each sum by itself.
// With `fetch` it asks memory for what lies AHEAD, line by line as W lies there: the hardware does not foresee several short
// streams, only one long one (figures in docs/speed.md).
enum { AHEAD = 16384, LINE = 64 };

INLINE void tile(int storage, int outputs, int rows, int fetch, const Matrix *m, const char *weight, long first, const float *x,
                 float *y, long y_stride, int add) {
    long d_in = m->d_in, row_bytes = d_in * bytes_of(storage), i = 0;
    Vector sums[TILE][TILE];
#pragma GCC unroll 4
    for (int o = 0; o < outputs; o++)
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) sums[o][r] = (Vector){0};
    for (; i + LANES <= d_in; i += LANES) {
        Vector w[TILE];
#pragma GCC unroll 4
        for (int o = 0; o < outputs; o++) {
            w[o] = load_weights(storage, weight + o * row_bytes, i);
        }
        if (fetch) {
            const int step = outputs * LANES * bytes_of(storage);
            const char *ahead = weight + i * outputs * bytes_of(storage) + AHEAD;
            if (step >= LINE || (ahead - weight) % LINE < step) __builtin_prefetch(ahead, 0, 2);
#pragma GCC unroll 4
            for (int more = LINE; more < step; more += LINE) __builtin_prefetch(ahead + more, 0, 2);
        }
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            Vector v = load(x + r * d_in + i);
#pragma GCC unroll 4
            for (int o = 0; o < outputs; o++) sums[o][r] += w[o] * v;
        }
    }
    if (i < d_in) {
        for (int o = 0; o < outputs; o++) {
            Vector w = load_some_weights(storage, weight + o * row_bytes, i, d_in - i);
            for (int r = 0; r < rows; r++) sums[o][r] += w * load_some(x + r * d_in + i, d_in - i);
        }
    }
#pragma GCC unroll 4
    for (int o = 0; o < outputs; o++) {
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            float value = sum_lanes(sums[o][r]);
            if (m->bias) value += m->bias[first + o];
            y[r * y_stride + first + o] = add ? y[r * y_stride + first + o] + value : value;
        }
    }
}

INLINE void tiles(int storage, int outputs, int rows, const Matrix *m, const char *weight, long first, const float *x,
                  float *y, long y_stride, int add) {
    int r = 0;
    long d_in = m->d_in;
    if (rows >= TILE) {
        tile(storage, outputs, TILE, 1, m, weight, first, x, y, y_stride, add);
        r = TILE;
    } else if (rows) {
        tile(storage, outputs, 1, outputs > 1, m, weight, first, x, y, y_stride, add);
        r = 1;
    }
    for (; r + TILE <= rows; r += TILE)
        tile(storage, outputs, TILE, 0, m, weight, first, x + r * d_in, y + r * y_stride, y_stride, add);
    for (; r < rows; r++)
        tile(storage, outputs, 1, 0, m, weight, first, x + r * d_in, y + r * y_stride, y_stride, add);
}

static int cached;  // whether a good part of the model's weights stays in the last cache from one pass to the next

INLINE void outputs_of(int storage, const Matrix *m, long first, long last, int rows, const float *x, float *y,
                       long y_stride, int add, float *wide) {
    long d_in = m->d_in, row_bytes = d_in * bytes_of(storage);
    for (long o = first; o < last;) {
        const char *weight = (const char *)m->weight + o * row_bytes;
        // One row of x reads W from end to end, which the hardware foresees; but what comes faster than one sum takes it is
        // taken by several at a time: 16 bits out of a cache.
        int several = rows > 1 || (storage != FLOAT32 && cached);
        int outputs = o + TILE <= last && several ? TILE : 1;
        if (storage != FLOAT32 && rows > TILE) {  // unpacked once for all rows: the same numbers, so the same sums
            for (long i = 0; i < outputs * d_in; i += LANES) {
                long left = outputs * d_in - i;
                if (left >= LANES) store(wide + i, load_weights(storage, weight, i));
                else {
                    Vector some = load_some_weights(storage, weight, i, left);
                    memcpy(wide + i, &some, (size_t)left * sizeof(float));
                }
            }
            if (outputs == TILE) tiles(FLOAT32, TILE, rows, m, (const char *)wide, o, x, y, y_stride, add);
            else tiles(FLOAT32, 1, rows, m, (const char *)wide, o, x, y, y_stride, add);
        } else if (outputs == TILE) tiles(storage, TILE, rows, m, weight, o, x, y, y_stride, add);
        else tiles(storage, 1, rows, m, weight, o, x, y, y_stride, add);
        o += outputs;
    }
}

// Outputs first .. last of all rows: y[r][o] = (or += where `add`) x[r] . W[o]. `wide` holds TILE rows of W as floats.
static void linear(const Matrix *m, long first, long last, int rows, const float *x, float *y, long y_stride, int add,
                   float *wide) {
    if (m->storage == FLOAT32) outputs_of(FLOAT32, m, first, last, rows, x, y, y_stride, add, wide);
    else if (m->storage == FLOAT16) outputs_of(FLOAT16, m, first, last, rows, x, y, y_stride, add, wide);
    else outputs_of(BFLOAT16, m, first, last, rows, x, y, y_stride, add, wide);
}

// How the outputs of a matrix are cut into chunks: whole tiles, about 48, so that two or eight threads end together; fewer
// where those would be so small that claiming them counts, but 4 for each thread.
enum { CHUNK_BYTES = 65536 };
static long fewest_chunks = 8;

static long chunk_outputs(const Matrix *m) {
    long share = (m->d_out + 47) / 48, large = CHUNK_BYTES / ((long)m->d_in * bytes_of(m->storage));
    long most = (m->d_out + fewest_chunks - 1) / fewest_chunks;
    if (large > most) large = most;
    if (share < large) share = large;
    return (share + TILE - 1) / TILE * TILE;
}

static long chunk_count(const Matrix *m) {
    return m->weight ? (m->d_out + chunk_outputs(m) - 1) / chunk_outputs(m) : 0;
}
