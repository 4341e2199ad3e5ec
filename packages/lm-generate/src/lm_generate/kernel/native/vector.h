// Vectors of as many floats as the machine adds at a time, and what is done with them: sums, exponentials, dot products.
// Written with the vector types of GCC and Clang, so the same lines compile for AVX-512, AVX2, NEON and anything else.
//
// Every sum has one order of its own, fixed here: lane by lane along the row, then the lanes pairwise. No result
// depends on how many rows are worked on together, nor on where they lie.
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
enum { LANES = 16, TILE = 4 };  // TILE x TILE sums are kept in registers: 32 of them here
#elif defined(__AVX2__)
enum { LANES = 8, TILE = 3 };
#else
enum { LANES = 4, TILE = 4 };
#endif
#define INLINE static inline __attribute__((always_inline))

typedef float Vector __attribute__((vector_size(4 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));
typedef uint16_t Halves __attribute__((vector_size(2 * LANES)));

INLINE Vector load(const float *at) {
    Vector v;
    memcpy(&v, at, sizeof v);
    return v;
}

INLINE void store(float *at, Vector v) { memcpy(at, &v, sizeof v); }

INLINE Vector all(float value) { return (Vector){0} + value; }

// The first `count` floats, then zeros.
INLINE Vector load_some(const float *at, long count) {
    Vector v = {0};
    memcpy(&v, at, (size_t)count * sizeof(float));
    return v;
}

INLINE float sum_lanes(Vector v) {
#if defined(__AVX512F__)
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v),
                                 _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1)));
#elif defined(__AVX2__)
    __m256 eight = v;
#endif
#if defined(__AVX2__)
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
#else
    float lanes[LANES];
    memcpy(lanes, &v, sizeof v);
    for (int width = LANES / 2; width; width /= 2)
        for (int i = 0; i < width; i++) lanes[i] += lanes[i + width];
    return lanes[0];
#endif
}

INLINE Vector largest(Vector a, Vector b) {
    Ints above = a > b;
    return (Vector)(((Ints)a & above) | ((Ints)b & ~above));
}

// e^x to about 1e-7 of itself; below -87 it is about 1e-38, above 88 about 1e38. NaN stays NaN.
INLINE Vector exponential(Vector x) {
    Ints low = x < -87.0f, high = x > 88.0f;
    x = (Vector)(((Ints)x & ~low & ~high) | ((Ints)all(-87.0f) & low) | ((Ints)all(88.0f) & high));
    Vector shifted = x * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: the whole number ends up in the last bits
    Vector n = shifted - 12582912.0f;
    Vector r = x - n * 0.693359375f + n * 2.12194440e-4f;
    Vector p = all(1.9875691500e-4f);  // Cephes' expf
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * (Vector)(((Ints)shifted + 127) << 23);
}

INLINE Vector sigmoid(Vector x) { return 1.0f / (1.0f + exponential(-x)); }

// Weights as they are stored, as floats; int8 ones are multiplied as whole numbers, in whole.h.
enum Storage { FLOAT32 = 0, BFLOAT16 = 1, INT8 = 2, FLOAT16 = 3 };

// A float16 without the machine's help: a subnormal is a whole number of 2^-24.
INLINE float from_half(uint16_t half) {
    int sign = half >> 15, exponent = half >> 10 & 31, fraction = half & 1023;
    float value = exponent == 0    ? ldexpf((float)fraction, -24)
                  : exponent == 31 ? (fraction ? NAN : INFINITY)
                                   : ldexpf((float)(fraction + 1024), exponent - 25);
    return sign ? -value : value;
}

INLINE Vector load_weights(int storage, const void *row, long at) {
    if (storage == BFLOAT16) {
#if defined(__AVX512F__)
        __m256i halves = _mm256_loadu_si256((const void *)((const uint16_t *)row + at));
        return (Vector)_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16);
#elif defined(__AVX2__)
        __m128i halves = _mm_loadu_si128((const void *)((const uint16_t *)row + at));
        return (Vector)_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16);
#else
        Halves halves;
        memcpy(&halves, (const uint16_t *)row + at, sizeof halves);
        return (Vector)(__builtin_convertvector(halves, Ints) << 16);
#endif
    }
    if (storage == FLOAT16) {
#if defined(__AVX512F__)
        return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)((const uint16_t *)row + at)));
#elif defined(__AVX2__)
        return _mm256_cvtph_ps(_mm_loadu_si128((const void *)((const uint16_t *)row + at)));
#else
        Vector wide;
        for (int i = 0; i < LANES; i++) wide[i] = from_half(((const uint16_t *)row)[at + i]);
        return wide;
#endif
    }
    return load((const float *)row + at);
}

INLINE int bytes_of(int storage) { return storage == INT8 ? 1 : storage == FLOAT32 ? 4 : 2; }

// The last, fewer than LANES, weights of a row; zeros behind them.
INLINE Vector load_some_weights(int storage, const void *row, long at, long count) {
    char copy[4 * LANES] = {0};
    memcpy(copy, (const char *)row + at * bytes_of(storage), (size_t)(count * bytes_of(storage)));
    return load_weights(storage, copy, 0);
}

INLINE float dot(const float *a, const float *b, long length) {
    Vector sum = {0};
    long i = 0;
    for (; i + LANES <= length; i += LANES) sum += load(a + i) * load(b + i);
    if (i < length) sum += load_some(a + i, length - i) * load_some(b + i, length - i);
    return sum_lanes(sum);
}
