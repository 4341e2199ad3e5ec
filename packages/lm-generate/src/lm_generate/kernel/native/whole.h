// y = x W^T for int8 weights, in whole numbers: each row of x is rounded to 15 bits by a scale of its own.
//
// A number of x is off by at most 1/32766 of the row's largest; weights are off by up to 1/254 of theirs. Sums of whole numbers
// are the same in any order, so tiles of any shape give the same bits; and a vector multiplies twice as many of them as
// of floats. 1024 products of 127 and 16383 fit into 32 bits; longer sums are put together in float, 1024 at a time.
#pragma once
#include "linear.h"

enum { LARGEST = 16383, PIECE = 1024, SHORTS = 2 * LANES };

typedef int16_t Shorts __attribute__((vector_size(2 * SHORTS)));
typedef int8_t ShortBytes __attribute__((vector_size(SHORTS)));

static long whole_stride(long size) { return (size + SHORTS - 1) / SHORTS * SHORTS; }

// x of one row as whole numbers, with zeros up to the stride. Where x is not finite the scale is NaN, and so are all outputs.
static void round_row(const float *x, long size, int16_t *whole, float *scale) {
    Vector highest = {0}, invalid = {0};
    for (long i = 0; i < size; i += LANES) {
        Vector v = i + LANES <= size ? load(x + i) : load_some(x + i, size - i);
        highest = largest(highest, largest(v, -v));
        invalid += v * 0;
    }
    float top = highest[0];
    for (int i = 1; i < LANES; i++) top = highest[i] > top ? highest[i] : top;
    *scale = top / LARGEST + sum_lanes(invalid);
    float inverse = top > 1e-30f ? LARGEST / top : 0;
    for (long i = 0; i < whole_stride(size); i += LANES) {
        Vector v = i + LANES <= size ? load(x + i) : i < size ? load_some(x + i, size - i) : (Vector){0};
        Ints rounded = (Ints)(v * inverse + 12582912.0f);  // 1.5 * 2^23: the whole number ends up in the last bits
        Halves last = __builtin_convertvector(rounded, Halves);
        memcpy(whole + i, &last, sizeof last);
    }
}

INLINE Shorts load_shorts(const int16_t *at) {
    Shorts v;
    memcpy(&v, at, sizeof v);
    return v;
}

INLINE Shorts widen(const int8_t *at) {
#if defined(__AVX512BW__)
    return (Shorts)_mm512_cvtepi8_epi16(_mm256_loadu_si256((const void *)at));
#elif defined(__AVX2__)
    return (Shorts)_mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)at));
#else
    ShortBytes bytes;
    memcpy(&bytes, at, sizeof bytes);
    return __builtin_convertvector(bytes, Shorts);
#endif
}

// The last, fewer than SHORTS, weights of a row; zeros behind them.
INLINE Shorts widen_some(const int8_t *at, long count) {
    int8_t copy[SHORTS] = {0};
    memcpy(copy, at, (size_t)count);
    return widen(copy);
}

// sum + a b, neighbours added up.
INLINE Ints multiply_add(Ints sum, Shorts a, Shorts b) {
#if defined(__AVX512VNNI__)
    return (Ints)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
#elif defined(__AVX512BW__)
    return sum + (Ints)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return sum + (Ints)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#else
    Ints low = (((Ints)a << 16) >> 16) * (((Ints)b << 16) >> 16), high = ((Ints)a >> 16) * ((Ints)b >> 16);
    return sum + low + high;
#endif
}

// Half of the lanes of a added to its other half, and so of b, side by side: one lane each in turn, or two each.
#if defined(__AVX512BW__)
INLINE Ints interleave_add_32(Ints a, Ints b) {
    __m512i x = (__m512i)a, y = (__m512i)b;
    return (Ints)_mm512_add_epi32(_mm512_unpacklo_epi32(x, y), _mm512_unpackhi_epi32(x, y));
}
INLINE Ints interleave_add_64(Ints a, Ints b) {
    __m512i x = (__m512i)a, y = (__m512i)b;
    return (Ints)_mm512_add_epi32(_mm512_unpacklo_epi64(x, y), _mm512_unpackhi_epi64(x, y));
}
#elif defined(__AVX2__)
INLINE Ints interleave_add_32(Ints a, Ints b) {
    __m256i x = (__m256i)a, y = (__m256i)b;
    return (Ints)_mm256_add_epi32(_mm256_unpacklo_epi32(x, y), _mm256_unpackhi_epi32(x, y));
}
INLINE Ints interleave_add_64(Ints a, Ints b) {
    __m256i x = (__m256i)a, y = (__m256i)b;
    return (Ints)_mm256_add_epi32(_mm256_unpacklo_epi64(x, y), _mm256_unpackhi_epi64(x, y));
}
#endif

// The sums over the lanes of each of `count` (at most 4) vectors.
INLINE void sum_each(const Ints *v, int count, float *sums) {
#if defined(__AVX2__)
    Ints none = {0};
    Ints first = interleave_add_32(v[0], count > 1 ? v[1] : none);
    Ints last = interleave_add_32(count > 2 ? v[2] : none, count > 3 ? v[3] : none);
    Ints all = interleave_add_64(first, last);  // four sums, over and over again
#if defined(__AVX512BW__)
    __m256i half = _mm256_add_epi32(_mm512_castsi512_si256((__m512i)all), _mm512_extracti64x4_epi64((__m512i)all, 1));
#else
    __m256i half = (__m256i)all;
#endif
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    float found[4];
    _mm_storeu_ps(found, _mm_cvtepi32_ps(four));
    memcpy(sums, found, (size_t)count * sizeof(float));
#else
    for (int i = 0; i < count; i++) {
        int32_t sum = 0;
        for (int lane = 0; lane < LANES; lane++) sum += v[i][lane];
        sums[i] = (float)sum;
    }
#endif
}

// Rows of x, rounded.
typedef struct {
    int16_t *numbers;  // (rows, stride)
    float *scales;     // (rows)
    long stride;
} Rounded;

// A tile, as in linear.h: `wide` has the weights as shorts, stride apart; without it they are widened on the way.
INLINE void whole_tile(int outputs, int rows, int fetch, const Matrix *m, const int16_t *wide, const int8_t *weight, long first,
                       const Rounded *x, long row, float *y, long y_stride, int add) {
    long d_in = m->d_in, width = wide ? x->stride : d_in / SHORTS * SHORTS;
    const int16_t *numbers = x->numbers + row * x->stride;
    float totals[TILE][TILE] = {{0}};
    for (long piece = 0; piece < d_in; piece += PIECE) {
        long i = piece, end = piece + PIECE < width ? piece + PIECE : width;
        Ints sums[TILE][TILE];
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (int o = 0; o < outputs; o++) sums[r][o] = (Ints){0};
        for (; i < end; i += SHORTS) {
            Shorts w[TILE];
#pragma GCC unroll 4
            for (int o = 0; o < outputs; o++)
                w[o] = wide ? load_shorts(wide + o * x->stride + i) : widen(weight + o * d_in + i);
            if (fetch) {
#pragma GCC unroll 4
                for (int line = 0; line < outputs * SHORTS; line += LINE)
                    __builtin_prefetch(weight + i * outputs + line + AHEAD, 0, 2);
            }
#pragma GCC unroll 4
            for (int r = 0; r < rows; r++) {
                Shorts v = load_shorts(numbers + r * x->stride + i);
#pragma GCC unroll 4
                for (int o = 0; o < outputs; o++) sums[r][o] = multiply_add(sums[r][o], w[o], v);
            }
        }
        if (!wide && i == width && i < d_in && i < piece + PIECE)
            for (int o = 0; o < outputs; o++) {
                Shorts w = widen_some(weight + o * d_in + i, d_in - i);
                for (int r = 0; r < rows; r++)
                    sums[r][o] = multiply_add(sums[r][o], w, load_shorts(numbers + r * x->stride + i));
            }
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            float found[TILE];
            sum_each(sums[r], outputs, found);
#pragma GCC unroll 4
            for (int o = 0; o < outputs; o++) totals[r][o] += found[o];
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int o = 0; o < outputs; o++) {
            // One rounding, said here: left to the compiler, tiles of other shapes would be rounded in other ways.
            float scale = x->scales[row + r] * m->scale[first + o];
            float value = fmaf(totals[r][o], scale, m->bias ? m->bias[first + o] : 0);
            float *at = y + (row + r) * y_stride + first + o;
            *at = add ? *at + value : value;
        }
    }
}

INLINE void whole_tiles(int outputs, int rows, const Matrix *m, const int16_t *wide, const int8_t *weight, long first,
                        const Rounded *x, float *y, long y_stride, int add) {
    int row = 0;
    for (; row + TILE <= rows; row += TILE)
        whole_tile(outputs, TILE, !wide && !row, m, wide, weight, first, x, row, y, y_stride, add);
    for (; row < rows; row++) whole_tile(outputs, 1, !wide && !row, m, wide, weight, first, x, row, y, y_stride, add);
}

// Many rows at a time: a vector of a panel holds two neighbouring weights of each of LANES outputs, so that sums over lanes, a quarter
// of a tile's time, are not needed. The whole numbers are the same, and the floats that they become are put together as in a tile.
enum { VECTORS = 2, PANEL = VECTORS * LANES, PANEL_ROWS = LANES == 16 ? 8 : 4, WORTH_A_PANEL = 24 };

// The weights of PANEL outputs as (stride / 2, VECTORS, LANES) pairs, zeros behind them.
static void make_panel(const int8_t *weight, long d_in, long stride, int16_t *panel) {
    for (long i = 0; i < stride; i += 4)
        for (int v = 0; v < VECTORS; v++) {
            int32_t fours[LANES] = {0};
            const int8_t *at = weight + v * LANES * d_in + i;
            if (i + 4 <= d_in)
                for (int o = 0; o < LANES; o++) memcpy(&fours[o], at + o * d_in, 4);
            else if (i < d_in)
                for (int o = 0; o < LANES; o++) memcpy(&fours[o], at + o * d_in, (size_t)(d_in - i));
            Ints bytes;
            memcpy(&bytes, fours, sizeof bytes);
            Ints pairs[2] = {((bytes << 24 >> 24) & 0xffff) | (bytes << 16 >> 24 << 16),
                             ((bytes << 8 >> 24) & 0xffff) | (bytes >> 24 << 16)};
            for (int half = 0; half < 2; half++)
                memcpy(panel + ((i / 2 + half) * VECTORS + v) * SHORTS, &pairs[half], sizeof pairs[half]);
        }
}

INLINE void panel_tile(int rows, const Matrix *m, const int16_t *panel, long first, const Rounded *x, long row, float *y, long y_stride,
                       int add) {
    const int16_t *numbers = x->numbers + row * x->stride;
    Vector totals[PANEL_ROWS][VECTORS] = {{{0}}};
    for (long piece = 0; piece < x->stride; piece += PIECE) {
        long end = piece + PIECE < x->stride ? piece + PIECE : x->stride;
        Ints sums[PANEL_ROWS][VECTORS];
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++) sums[r][v] = (Ints){0};
        for (long i = piece; i < end; i += 2) {
            Shorts w[VECTORS];
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++) w[v] = load_shorts(panel + i * PANEL + v * SHORTS);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                int32_t pair;
                memcpy(&pair, numbers + r * x->stride + i, sizeof pair);
                Shorts both = (Shorts)((Ints){0} + pair);
#pragma GCC unroll 2
                for (int v = 0; v < VECTORS; v++) sums[r][v] = multiply_add(sums[r][v], w[v], both);
            }
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++) totals[r][v] += __builtin_convertvector(sums[r][v], Vector);
    }
    for (int r = 0; r < rows; r++) {
        float *at = y + (row + r) * y_stride + first;
        float found[PANEL];
        memcpy(found, totals[r], sizeof found);
        for (int o = 0; o < PANEL; o++) {
            float scale = x->scales[row + r] * m->scale[first + o];
            float value = fmaf(found[o], scale, m->bias ? m->bias[first + o] : 0);
            at[o] = add ? at[o] + value : value;
        }
    }
}

// As `linear`, for int8 weights. `wide` has room for PANEL rows of them as shorts.
static void linear_whole(const Matrix *m, long first, long last, int rows, const Rounded *x, float *y, long y_stride, int add,
                         int16_t *wide) {
    long d_in = m->d_in;
    for (long o = first; o < last;) {
        const int8_t *weight = (const int8_t *)m->weight + o * d_in;
        int outputs = o + TILE <= last ? TILE : 1;
        if (rows >= WORTH_A_PANEL && o + PANEL <= last) {
            outputs = PANEL;
            make_panel(weight, d_in, x->stride, wide);
            int row = 0;
            for (; row + PANEL_ROWS <= rows; row += PANEL_ROWS) panel_tile(PANEL_ROWS, m, wide, o, x, row, y, y_stride, add);
            for (; row < rows; row++) panel_tile(1, m, wide, o, x, row, y, y_stride, add);
        } else if (rows > TILE) {  // widened once for all rows
            for (int each = 0; each < outputs; each++)
                for (long i = 0; i < d_in; i += SHORTS) {
                    const int8_t *at = weight + each * d_in + i;
                    Shorts some = i + SHORTS <= d_in ? widen(at) : widen_some(at, d_in - i);
                    memcpy(wide + each * x->stride + i, &some, sizeof some);
                }
            if (outputs == TILE) whole_tiles(TILE, rows, m, wide, weight, o, x, y, y_stride, add);
            else whole_tiles(1, rows, m, wide, weight, o, x, y, y_stride, add);
        } else if (outputs == TILE) whole_tiles(TILE, rows, m, 0, weight, o, x, y, y_stride, add);
        else whole_tiles(1, rows, m, 0, weight, o, x, y, y_stride, add);
        o += outputs;
    }
}
