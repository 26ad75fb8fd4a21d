// Element-wise work and norms of a model on a GPU, one launch each, compiled to PTX when the crate is built.
//
// T is the type of the model's tensors; arithmetic is in float. The names of the kernels end in _f32, _f16 or _bf16.

#include "common.cuh"

// The sum over a block of at most 32 warps, in every thread. `shared` has a place for each warp.
static __device__ __forceinline__ float block_sum(float x, float *shared) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    x = warp_sum(x);
    __syncthreads();
    if (lane == 0) shared[warp] = x;
    __syncthreads();
    return warp_sum(lane < warps ? shared[lane] : 0.0f);
}

// The numbers are those of activation.rs.
static __device__ __forceinline__ float activated(float x, int activation) {
    switch (activation) {
    case 1: return x / (1.0f + expf(-1.702f * x));
    case 2: return 0.5f * x * (1.0f + erff(x * 0.70710678f));
    case 3: return x / (1.0f + expf(-1.595769122f * (x + 0.044715f * x * x * x)));
    case 4: return x < 0.0f ? 0.0f : x;
    case 5: return x / (1.0f + expf(-x));
    case 6: return 1.0f / (1.0f + expf(-x));
    default: return x;
    }
}

// out = activation(x + bias) for rows as wide as bias. A bias that is null is zero.
template <typename T>
static __device__ void bias_activation(const T *x, const T *bias, T *out, size_t count, unsigned width, int activation) {
    const size_t step = (size_t)gridDim.x * blockDim.x;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        const float b = bias ? to_float(bias[i % width]) : 0.0f;
        out[i] = from_float<T>(activated(to_float(x[i]) + b, activation));
    }
}

// The same where width and count are multiples of a chunk and all begins at a multiple of 16 bytes.
template <typename T>
static __device__ void bias_activation_chunks(const T *x, const T *bias, T *out, size_t count, unsigned width,
                                              int activation) {
    constexpr int LEN = Chunk<T>::LEN;
    const size_t chunks = count / LEN, step = (size_t)gridDim.x * blockDim.x;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < chunks; i += step) {
        Chunk<T> v = reinterpret_cast<const Chunk<T> *>(x)[i];
        if (bias) {
            const Chunk<T> b = reinterpret_cast<const Chunk<T> *>(bias)[i % (width / LEN)];
#pragma unroll
            for (int k = 0; k < LEN; k++)
                v.values[k] = from_float<T>(activated(to_float(v.values[k]) + to_float(b.values[k]), activation));
        } else {
#pragma unroll
            for (int k = 0; k < LEN; k++) v.values[k] = from_float<T>(activated(to_float(v.values[k]), activation));
        }
        reinterpret_cast<Chunk<T> *>(out)[i] = v;
    }
}

// out = activation(x + y), both of the same length.
template <typename T>
static __device__ void add_activation(const T *x, const T *y, T *out, size_t count, int activation) {
    const size_t step = (size_t)gridDim.x * blockDim.x;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step)
        out[i] = from_float<T>(activated(to_float(x[i]) + to_float(y[i]), activation));
}

// out = (x - mean) / sqrt(variance + eps) * weight + bias, a block for each row; two passes, so that a large mean does
// not swallow the variance.
template <typename T>
static __device__ void layer_norm(const T *x, const float *weight, const float *bias, T *out, unsigned width, float eps) {
    __shared__ float shared[32];
    const T *row = x + (size_t)blockIdx.x * width;
    T *to = out + (size_t)blockIdx.x * width;
    float sum = 0.0f;
    for (unsigned i = threadIdx.x; i < width; i += blockDim.x) sum += to_float(row[i]);
    const float mean = block_sum(sum, shared) / width;
    float squares = 0.0f;
    for (unsigned i = threadIdx.x; i < width; i += blockDim.x) {
        const float d = to_float(row[i]) - mean;
        squares += d * d;
    }
    const float inverse = 1.0f / sqrtf(block_sum(squares, shared) / width + eps);
    for (unsigned i = threadIdx.x; i < width; i += blockDim.x)
        to[i] = from_float<T>((to_float(row[i]) - mean) * inverse * weight[i] + bias[i]);
}

// The same where rows are whole chunks, at most PER for each lane, and all begins at a multiple of 16 bytes: a warp for each row,
// which is read once.
template <typename T, int PER>
static __device__ void layer_norm_chunks(const T *x, const float *weight, const float *bias, T *out, size_t rows,
                                         unsigned width, float eps) {
    constexpr int LEN = Chunk<T>::LEN;
    const size_t row = (size_t)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (row >= rows) return;
    const unsigned lane = threadIdx.x % 32, chunks = width / LEN;
    const Chunk<T> *from = reinterpret_cast<const Chunk<T> *>(x + row * width);
    Chunk<T> *to = reinterpret_cast<Chunk<T> *>(out + row * width);
    float value[PER][LEN], sum = 0.0f;
#pragma unroll
    for (int p = 0; p < PER; p++) {
        const unsigned at = p * 32 + lane;
        if (at >= chunks) continue;
        const Chunk<T> chunk = from[at];
#pragma unroll
        for (int i = 0; i < LEN; i++) sum += value[p][i] = to_float(chunk.values[i]);
    }
    const float mean = warp_sum(sum) / width;
    float squares = 0.0f;
#pragma unroll
    for (int p = 0; p < PER; p++) {
        if (p * 32 + lane >= chunks) continue;
#pragma unroll
        for (int i = 0; i < LEN; i++) {
            const float d = value[p][i] - mean;
            squares += d * d;
        }
    }
    const float inverse = 1.0f / sqrtf(warp_sum(squares) / width + eps);
#pragma unroll
    for (int p = 0; p < PER; p++) {
        const unsigned at = p * 32 + lane;
        if (at >= chunks) continue;
        Chunk<T> made;
#pragma unroll
        for (int part = 0; part < LEN; part += 4) {
            const Chunk<float> w = reinterpret_cast<const Chunk<float> *>(weight + (size_t)at * LEN + part)[0];
            const Chunk<float> b = reinterpret_cast<const Chunk<float> *>(bias + (size_t)at * LEN + part)[0];
#pragma unroll
            for (int i = 0; i < 4; i++)
                made.values[part + i] = from_float<T>((value[p][part + i] - mean) * inverse * w.values[i] + b.values[i]);
        }
        to[at] = made;
    }
}

// out = softmax(scale * x + mask), a warp for each row of x [batch, heads, queries, keys]; mask
// [mask_batch, mask_heads, mask_queries, keys], each 1 or as in x, or null.
template <typename T>
static __device__ void softmax(const T *x, const float *mask, T *out, size_t rows, unsigned heads, unsigned queries,
                               unsigned keys, unsigned mask_batch, unsigned mask_heads, unsigned mask_queries,
                               float scale) {
    const size_t row = (size_t)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (row >= rows) return;
    const unsigned lane = threadIdx.x % 32;
    const size_t query = row % queries, head = row / queries % heads, item = row / queries / heads;
    const float *added = mask;
    if (mask) added += (((item % mask_batch) * mask_heads + head % mask_heads) * mask_queries + query % mask_queries) * keys;
    const T *from = x + row * keys;
    T *to = out + row * keys;
    float most = -INFINITY;
    for (unsigned i = lane; i < keys; i += 32) most = fmaxf(most, to_float(from[i]) * scale + (added ? added[i] : 0.0f));
    most = warp_max(most);
    float sum = 0.0f;
    for (unsigned i = lane; i < keys; i += 32) sum += expf(to_float(from[i]) * scale + (added ? added[i] : 0.0f) - most);
    const float inverse = 1.0f / warp_sum(sum);
    for (unsigned i = lane; i < keys; i += 32)
        to[i] = from_float<T>(expf(to_float(from[i]) * scale + (added ? added[i] : 0.0f) - most) * inverse);
}

#define KERNELS(T, name)                                                                                                \
    extern "C" __global__ void bias_activation_##name(const T *x, const T *bias, T *out, size_t count, unsigned width,  \
                                                      int activation) {                                                 \
        bias_activation(x, bias, out, count, width, activation);                                                        \
    }                                                                                                                   \
    extern "C" __global__ void bias_activation_chunks_##name(const T *x, const T *bias, T *out, size_t count,           \
                                                             unsigned width, int activation) {                          \
        bias_activation_chunks(x, bias, out, count, width, activation);                                                 \
    }                                                                                                                   \
    extern "C" __global__ void add_activation_##name(const T *x, const T *y, T *out, size_t count, int activation) {    \
        add_activation(x, y, out, count, activation);                                                                   \
    }                                                                                                                   \
    extern "C" __global__ void layer_norm_##name(const T *x, const float *weight, const float *bias, T *out,            \
                                                 unsigned width, float eps) {                                           \
        layer_norm(x, weight, bias, out, width, eps);                                                                   \
    }                                                                                                                   \
    extern "C" __global__ void layer_norm_chunks_4_##name(const T *x, const float *weight, const float *bias, T *out,    \
                                                          size_t rows, unsigned width, float eps) {                     \
        layer_norm_chunks<T, 4>(x, weight, bias, out, rows, width, eps);                                                \
    }                                                                                                                   \
    extern "C" __global__ void layer_norm_chunks_8_##name(const T *x, const float *weight, const float *bias, T *out,    \
                                                          size_t rows, unsigned width, float eps) {                     \
        layer_norm_chunks<T, 8>(x, weight, bias, out, rows, width, eps);                                                \
    }                                                                                                                   \
    extern "C" __global__ void softmax_##name(const T *x, const float *mask, T *out, size_t rows, unsigned heads,       \
                                              unsigned queries, unsigned keys, unsigned mask_batch,                     \
                                              unsigned mask_heads, unsigned mask_queries, float scale) {                \
        softmax(x, mask, out, rows, heads, queries, keys, mask_batch, mask_heads, mask_queries, scale);                 \
    }

KERNELS(float, f32)
KERNELS(__half, f16)
KERNELS(__nv_bfloat16, bf16)
