/* AdamW in one loop over memory: every number is read once and written once. The equations are in adamw.py.

   `count` tensors of `sizes[i]` elements each are one row of elements, end to end; a call updates elements start ... stop - 1
   of it, so that threads can share a step. numbers: keep, beta1, 1 - beta1, beta2, 1 - beta2, root, eps, step size.
   The average m has two forms, as torch's lerp: each is exact where the other would round its larger part away.
   one_pass.py builds and calls this. */
#include <math.h>
#include <stdint.h>

#define ADAMW(NAME, REAL, SQRT)                                                                                          \
    static void NAME##_piece(REAL *restrict p, const REAL *restrict g, REAL *restrict m, REAL *restrict v, int64_t n,    \
                             const double *numbers) {                                                                    \
        const REAL keep = numbers[0], beta1 = numbers[1], new_m = numbers[2], beta2 = numbers[3], new_v = numbers[4];    \
        const REAL root = numbers[5], eps = numbers[6], step_size = numbers[7];                                          \
        for (int64_t i = 0; i < n; i++) {                                                                                \
            m[i] = new_m < 0.5 ? m[i] + new_m * (g[i] - m[i]) : g[i] - beta1 * (g[i] - m[i]);                            \
            v[i] = v[i] * beta2 + new_v * g[i] * g[i];                                                                   \
            p[i] = p[i] * keep - step_size * m[i] / (SQRT(v[i]) / root + eps);                                           \
        }                                                                                                                \
    }                                                                                                                    \
    void NAME(int64_t count, REAL **p, REAL **g, REAL **m, REAL **v, const int64_t *sizes, int64_t start, int64_t stop,  \
              const double *numbers) {                                                                                   \
        for (int64_t i = 0; i < count && stop > 0; start -= sizes[i], stop -= sizes[i], i++) {                           \
            const int64_t from = start > 0 ? start : 0, to = stop < sizes[i] ? stop : sizes[i];                          \
            if (from < to) NAME##_piece(p[i] + from, g[i] + from, m[i] + from, v[i] + from, to - from, numbers);         \
        }                                                                                                                \
    }

ADAMW(adamw_float, float, sqrtf)
ADAMW(adamw_double, double, sqrt)
