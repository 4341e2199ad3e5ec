// LayerNorm and RMSNorm of one row.
#pragma once
#include "vector.h"

typedef struct {
    const float *weight, *bias;  // (size); no weight: no norm; no bias: none
    float eps;
    int32_t layer;  // 1: LayerNorm, 0: RMSNorm
} Norm;

static void normalise(const Norm *norm, const float *x, float *y, long size) {
    float mean = 0, inverse;
    if (norm->layer) {
        Vector total = {0}, squares = {0};
        long i = 0;
        for (; i + LANES <= size; i += LANES) total += load(x + i);
        if (i < size) total += load_some(x + i, size - i);
        mean = sum_lanes(total) / (float)size;
        for (i = 0; i + LANES <= size; i += LANES) {
            Vector centred = load(x + i) - mean;
            squares += centred * centred;
        }
        float square = sum_lanes(squares);
        for (; i < size; i++) square += (x[i] - mean) * (x[i] - mean);
        inverse = 1 / sqrtf(square / (float)size + norm->eps);
    } else {
        inverse = 1 / sqrtf(dot(x, x, size) / (float)size + norm->eps);
    }
    for (long i = 0; i < size; i++) {
        float value = (x[i] - mean) * inverse * norm->weight[i];
        y[i] = norm->bias ? value + norm->bias[i] : value;
    }
}
