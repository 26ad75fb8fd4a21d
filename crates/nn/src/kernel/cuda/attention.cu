// Attention of several heads in one launch, as in FlashAttention (Dao et al. 2022, arXiv 2205.14135; the layout in
// registers is that of its second version, arXiv 2307.08691): scores are never written to memory. Sums are in float.
//
// A block takes 64 queries of one head, a warp 16 of them, and goes over the keys 64 at a time. Queries, keys and values
// are read where the projections left them.

#include <cuda_bf16.h>
#include <cuda_fp16.h>

constexpr int QUERIES = 64, KEYS = 64, THREADS = 128;

static __device__ __forceinline__ unsigned pack(float a, float b, __half) {
    const __half2 both = __floats2half2_rn(a, b);
    return *reinterpret_cast<const unsigned *>(&both);
}

static __device__ __forceinline__ unsigned pack(float a, float b, __nv_bfloat16) {
    const __nv_bfloat162 both = __floats2bfloat162_rn(a, b);
    return *reinterpret_cast<const unsigned *>(&both);
}

// The instructions of a warp; tests/kernels has them in C++.
#ifdef __CUDACC__
// c += a b for tiles of 16 x 16 and 16 x 8. Thread 4 g + t of a warp has of a the rows g and g + 8, columns 2 t, 2 t + 1 and
// those 8 further; of b column g, rows 2 t, 2 t + 1 and those 8 further; of c rows g and g + 8, columns 2 t and 2 t + 1.
static __device__ __forceinline__ void multiply(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, __half) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

static __device__ __forceinline__ void multiply(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1,
                                                __nv_bfloat16) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four tiles of 8 x 8 in shared memory, of which lane i has the address of row i % 8 of tile i / 8. Of each thread 4 g + t
// gets row g, columns 2 t and 2 t + 1.
static __device__ __forceinline__ void tiles(unsigned (&b)[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(b[0]), "=r"(b[1]), "=r"(b[2]), "=r"(b[3])
                 : "r"((unsigned)__cvta_generic_to_shared(row)));
}

// As tiles(), of each column g, rows 2 t and 2 t + 1.
static __device__ __forceinline__ void transposed_tiles(unsigned (&b)[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(b[0]), "=r"(b[1]), "=r"(b[2]), "=r"(b[3])
                 : "r"((unsigned)__cvta_generic_to_shared(row)));
}
#endif

// Two elements that lie side by side.
template <typename T> static __device__ __forceinline__ unsigned pair(const T *at) {
    return *reinterpret_cast<const unsigned *>(at);
}

// Largest, or sum, over the four threads that share a row.
static __device__ __forceinline__ float row_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

static __device__ __forceinline__ float row_sum(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

// Rows first .. first + 64 of `from`, whose vectors of `head_dim` elements are `step` apart, filled up with zeros to
// WIDTH columns and 64 rows.
template <typename T, int WIDTH>
static __device__ __forceinline__ void stage(T *to, const T *from, size_t step, unsigned first, unsigned count,
                                             unsigned head_dim, bool in_chunks) {
    constexpr int PITCH = WIDTH + 8, CHUNKS = WIDTH / 8;
    for (int i = threadIdx.x; i < 64 * CHUNKS; i += THREADS) {
        const unsigned row = i / CHUNKS, column = i % CHUNKS * 8;
        uint4 chunk = make_uint4(0, 0, 0, 0);
        if (first + row < count && column < head_dim) {
            const T *at = from + (size_t)(first + row) * step + column;
            if (in_chunks) {
                chunk = *reinterpret_cast<const uint4 *>(at);
            } else {
                T *each = reinterpret_cast<T *>(&chunk);
                for (int k = 0; k < 8; k++)
                    if (column + k < head_dim) each[k] = at[k];
            }
        }
        *reinterpret_cast<uint4 *>(to + row * PITCH + column) = chunk;
    }
}

// out [batch, queries, heads, head_dim] = softmax(scale q k + mask) v. Vectors of queries are query_step apart and items
// query_item; the values of a key lie behind its keys of all heads. mask as in softmax() of fused.cu.
template <typename T, int WIDTH>
static __device__ void attention(const T *q, const T *k, const float *mask, T *out, size_t query_item, size_t query_step,
                                 size_t key_item, size_t key_step, unsigned queries, unsigned keys, unsigned head_dim,
                                 unsigned mask_batch, unsigned mask_heads, unsigned mask_queries, int in_chunks,
                                 float scale) {
    constexpr int PITCH = WIDTH + 8;
    __shared__ alignas(16) T key_tile[KEYS * PITCH];
    __shared__ alignas(16) T value_tile[KEYS * PITCH];
    const unsigned head = blockIdx.y, heads = gridDim.y, item = blockIdx.z, first = blockIdx.x * QUERIES;
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const T *of_keys = k + item * key_item + head * head_dim;
    const T *of_values = of_keys + heads * head_dim;

    stage<T, WIDTH>(key_tile, q + item * query_item + head * head_dim, query_step, first, queries, head_dim, in_chunks);
    __syncthreads();
    unsigned query[WIDTH / 16][4];
#pragma unroll
    for (int d = 0; d < WIDTH / 16; d++) {
        const T *at = key_tile + (warp * 16 + g) * PITCH + d * 16 + 2 * t;
        query[d][0] = pair(at);
        query[d][1] = pair(at + 8 * PITCH);
        query[d][2] = pair(at + 8);
        query[d][3] = pair(at + 8 * PITCH + 8);
    }

    float mixed[WIDTH / 8][4] = {}, most[2] = {-INFINITY, -INFINITY}, total[2] = {0.0f, 0.0f};
    const float *mask_row[2] = {nullptr, nullptr};
    if (mask)
        for (int r = 0; r < 2; r++) {
            const unsigned row = min(first + warp * 16 + g + 8 * r, queries - 1);
            mask_row[r] = mask + (((size_t)(item % mask_batch) * mask_heads + head % mask_heads) * mask_queries +
                                  row % mask_queries) * keys;
        }

    // Warps behind the last query only help to read.
    const bool has_queries = first + warp * 16 < queries;
    for (unsigned start = 0; start < keys; start += KEYS) {
        __syncthreads();
        stage<T, WIDTH>(key_tile, of_keys, key_step, start, keys, head_dim, in_chunks);
        stage<T, WIDTH>(value_tile, of_values, key_step, start, keys, head_dim, in_chunks);
        __syncthreads();
        if (!has_queries) continue;
        // Eight keys each; those behind the last key are left out.
        const int parts = min(KEYS, keys - start + 7) / 8;

        float score[KEYS / 8][4] = {};
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++) {
            if (n >= parts) break;
            const T *row = key_tile + (n * 8 + lane % 8) * PITCH + lane / 8 * 8;
            unsigned b[4];
#pragma unroll
            for (int d = 0; d + 1 < WIDTH / 16; d += 2) {
                tiles(b, row + d * 16);
                multiply(score[n], query[d], b[0], b[1], T());
                multiply(score[n], query[d + 1], b[2], b[3], T());
            }
            if (WIDTH / 16 % 2 == 1) {
                const T *at = key_tile + (n * 8 + g) * PITCH + (WIDTH / 16 - 1) * 16 + 2 * t;
                multiply(score[n], query[WIDTH / 16 - 1], pair(at), pair(at + 8), T());
            }
        }
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++) {
            if (n >= parts) break;
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const unsigned key = start + n * 8 + 2 * t + i % 2;
                const float added = mask && key < keys ? mask_row[i / 2][key] : 0.0f;
                score[n][i] = key < keys ? score[n][i] * scale + added : -INFINITY;
            }
        }
#pragma unroll
        for (int r = 0; r < 2; r++) {
            float now = most[r];
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++) {
                if (n >= parts) break;
                now = fmaxf(now, fmaxf(score[n][2 * r], score[n][2 * r + 1]));
            }
            now = row_max(now);
            // While there was no key that the mask allows, the infinite one is not subtracted from itself.
            const float from = now == -INFINITY ? 0.0f : now;
            const float kept = __expf(most[r] - from);
            most[r] = now;
            total[r] *= kept;
#pragma unroll
            for (int d = 0; d < WIDTH / 8; d++) {
                mixed[d][2 * r] *= kept;
                mixed[d][2 * r + 1] *= kept;
            }
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++) {
                if (n >= parts) break;
#pragma unroll
                for (int i = 2 * r; i < 2 * r + 2; i++) {
                    score[n][i] = __expf(score[n][i] - from);
                    total[r] += score[n][i];
                }
            }
        }
#pragma unroll
        for (int n = 0; n < KEYS / 16; n++) {
            if (2 * n >= parts) break;
            // Where a part was left out, its scores are the zeros that they were made with.
            const float(&left)[4] = score[2 * n], (&right)[4] = score[2 * n + 1];
            const unsigned share[4] = {pack(left[0], left[1], T()), pack(left[2], left[3], T()),
                                       pack(right[0], right[1], T()), pack(right[2], right[3], T())};
            const T *row = value_tile + (n * 16 + lane % 16) * PITCH + lane / 16 * 8;
#pragma unroll
            for (int d = 0; d < WIDTH / 8; d += 2) {
                unsigned b[4];
                transposed_tiles(b, row + d * 8);
                multiply(mixed[d], share, b[0], b[1], T());
                multiply(mixed[d + 1], share, b[2], b[3], T());
            }
        }
    }
    if (!has_queries) return;

#pragma unroll
    for (int r = 0; r < 2; r++) {
        const float inverse = 1.0f / row_sum(total[r]);
        const unsigned row = first + warp * 16 + g + 8 * r;
        if (row >= queries) continue;
        T *to = out + (((size_t)item * queries + row) * heads + head) * head_dim;
#pragma unroll
        for (int d = 0; d < WIDTH / 8; d++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const unsigned column = d * 8 + 2 * t + i;
                if (column < head_dim) to[column] = T(mixed[d][2 * r + i] * inverse);
            }
    }
}

#define KERNEL(T, name, WIDTH)                                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS) attention_##WIDTH##_##name(                                   \
        const T *q, const T *k, const float *mask, T *out, size_t query_item, size_t query_step, size_t key_item,       \
        size_t key_step, unsigned queries, unsigned keys, unsigned head_dim, unsigned mask_batch, unsigned mask_heads,  \
        unsigned mask_queries, int in_chunks, float scale) {                                                            \
        attention<T, WIDTH>(q, k, mask, out, query_item, query_step, key_item, key_step, queries, keys, head_dim,       \
                            mask_batch, mask_heads, mask_queries, in_chunks, scale);                                    \
    }

#define KERNELS(T, name)                                                                                                \
    KERNEL(T, name, 16)                                                                                                 \
    KERNEL(T, name, 32)                                                                                                 \
    KERNEL(T, name, 64)                                                                                                 \
    KERNEL(T, name, 96)                                                                                                 \
    KERNEL(T, name, 128)

KERNELS(__half, f16)
KERNELS(__nv_bfloat16, bf16)
