// What a language model does with one more token of each of its rows, beside the kernels of fused.cu. What changes from
// token to token (which tokens they are, their positions, how many there were) is in the card's memory and never an
// argument, so that the launches of a step can be recorded once and replayed.
//
// T is the type of the model's tensors; arithmetic is in float.

#include "common.cuh"

// out[row] = tokens[ids[row]] + places[positions[row] + offset], a block for each row; without places the token alone.
template <typename T>
static __device__ void embed(const T *tokens, const T *places, const unsigned *ids, const unsigned *positions, T *out,
                             unsigned width, unsigned offset) {
    const unsigned row = blockIdx.x;
    const T *token = tokens + (size_t)ids[row] * width;
    const T *place = places ? places + ((size_t)positions[row] + offset) * width : nullptr;
    for (unsigned i = threadIdx.x; i < width; i += blockDim.x)
        out[(size_t)row * width + i] = from_float<T>(to_float(token[i]) + (place ? to_float(place[i]) : 0.0f));
}

// The widest head of look_back, its warps, and the elements of a head that a lane mixes.
constexpr unsigned WIDEST = 128, LOOKING_WARPS = 8, PER_LANE = WIDEST / 32;

// Attention of one new position of each row to itself and to what was seen before, a block for each head and row. `all`
// [rows, 3 * heads * head_dim] are the new queries, keys and values side by side; `seen` [rows, room, 2 * heads * head_dim]
// has keys before values, of which the first *count positions are there. The new ones are written behind them. Nothing
// before first[row] is looked at.
//
// With frequencies [turned / 2] the first `turned` elements of queries and keys are turned by positions[row], elements i and
// i + turned / 2 together or 2 i and 2 i + 1. With slopes [heads] a key that is d positions back gets -slope * d.
template <typename T>
static __device__ void look_back(const T *all, T *seen, const unsigned *count, const unsigned *first,
                                 const unsigned *positions, const float *slopes, const float *frequencies, T *out,
                                 unsigned room, unsigned head_dim, unsigned turned, int are_neighbours, int in_chunks,
                                 float scale) {
    constexpr unsigned LEN = Chunk<T>::LEN;
    __shared__ float query[WIDEST], share[LOOKING_WARPS][32], part[LOOKING_WARPS][WIDEST];
    __shared__ float most_of[LOOKING_WARPS], total_of[LOOKING_WARPS];
    const unsigned head = blockIdx.x, row = blockIdx.y, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const unsigned last = *count, inner = gridDim.x * head_dim;
    const size_t step = 2 * (size_t)inner;
    const T *own = all + (size_t)row * 3 * inner + head * head_dim;
    T *keys = seen + (size_t)row * room * step + head * head_dim;

    for (unsigned d = threadIdx.x; d < head_dim; d += blockDim.x) {
        float q = to_float(own[d]), k = to_float(own[inner + d]);
        if (d < turned) {
            const unsigned half = turned / 2;
            const bool is_second = are_neighbours ? d % 2 == 1 : d >= half;
            const unsigned other = are_neighbours ? d ^ 1u : is_second ? d - half : d + half;
            const float angle = (float)positions[row] * frequencies[are_neighbours ? d / 2 : d % half];
            const float along = cosf(angle), across = is_second ? sinf(angle) : -sinf(angle);
            q = q * along + to_float(own[other]) * across;
            k = k * along + to_float(own[inner + other]) * across;
        }
        // Of the tensors' type, as if it had been one.
        query[d] = to_float(from_float<T>(q));
        keys[last * step + d] = from_float<T>(k);
        keys[last * step + inner + d] = own[2 * inner + d];
    }
    __syncthreads();

    const float slope = slopes ? slopes[head] : 0.0f;
    float mixed[PER_LANE] = {}, most = -INFINITY, total = 0.0f;
    for (unsigned start = first[row] + warp * 32; start <= last; start += LOOKING_WARPS * 32) {
        const unsigned at = start + lane;
        float score = -INFINITY;
        if (at <= last) {
            const T *key = keys + at * step;
            float sum = 0.0f;
            if (in_chunks) {
                for (unsigned d = 0; d < head_dim; d += LEN) {
                    const Chunk<T> chunk = *reinterpret_cast<const Chunk<T> *>(key + d);
#pragma unroll
                    for (unsigned i = 0; i < LEN; i++) sum += query[d + i] * to_float(chunk.values[i]);
                }
            } else {
                for (unsigned d = 0; d < head_dim; d++) sum += query[d] * to_float(key[d]);
            }
            score = sum * scale - slope * (float)(last - at);
        }
        const float now = fmaxf(most, warp_max(score));
        // Scores that are all infinite are not subtracted from themselves.
        const float from = now == -INFINITY ? 0.0f : now, kept = expf(most - from);
        const float weight = at <= last ? expf(score - from) : 0.0f;
        most = now;
        total = total * kept + warp_sum(weight);
        share[warp][lane] = weight;
        __syncwarp();
#pragma unroll
        for (unsigned j = 0; j < PER_LANE; j++) mixed[j] *= kept;
        for (unsigned k = 0; k < 32 && start + k <= last; k++) {
            const T *value = keys + (start + k) * step + inner;
            const float of_key = share[warp][k];
#pragma unroll
            for (unsigned j = 0; j < PER_LANE; j++) {
                const unsigned d = j * 32 + lane;
                if (d < head_dim) mixed[j] += of_key * to_float(value[d]);
            }
        }
        __syncwarp();
    }

    if (lane == 0) {
        most_of[warp] = most;
        total_of[warp] = total;
    }
    for (unsigned j = 0; j < PER_LANE; j++) {
        const unsigned d = j * 32 + lane;
        if (d < head_dim) part[warp][d] = mixed[j];
    }
    __syncthreads();
    float highest = -INFINITY;
    for (unsigned w = 0; w < LOOKING_WARPS; w++) highest = fmaxf(highest, most_of[w]);
    if (highest == -INFINITY) highest = 0.0f;
    for (unsigned d = threadIdx.x; d < head_dim; d += blockDim.x) {
        float sum = 0.0f, value = 0.0f;
        for (unsigned w = 0; w < LOOKING_WARPS; w++) {
            const float kept = expf(most_of[w] - highest);
            sum += total_of[w] * kept;
            value += part[w][d] * kept;
        }
        out[(size_t)row * inner + head * head_dim + d] = from_float<T>(value / sum);
    }
}

// The first *count positions of rows of `from` [layers, rows, room, width] to those rows of `to`, which is as large:
// row r becomes what parents[r] is, and one that stays what it is is not touched. A launch each takes what moves out
// of the way and puts it back. Blocks are (any number, rows, layers).
template <typename T>
static __device__ void move_rows(const T *from, T *to, const unsigned *parents, const unsigned *count, unsigned room,
                                 unsigned width, int is_back) {
    const unsigned row = blockIdx.y, rows = gridDim.y, layer = blockIdx.z;
    if (parents[row] == row) return;
    const size_t size = (size_t)room * width, used = (size_t)*count * width;
    const T *source = from + ((size_t)layer * rows + (is_back ? row : parents[row])) * size;
    T *target = to + ((size_t)layer * rows + row) * size;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < used; i += (size_t)gridDim.x * blockDim.x)
        target[i] = source[i];
}

// out = x in float.
template <typename T> static __device__ void widen(const T *x, float *out, size_t count) {
    const size_t step = (size_t)gridDim.x * blockDim.x;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) out[i] = to_float(x[i]);
}

// A position more of each row, and one more of all.
extern "C" __global__ void count_on(unsigned *positions, unsigned *count, unsigned rows) {
    for (unsigned row = threadIdx.x; row < rows; row += blockDim.x) positions[row]++;
    if (threadIdx.x == 0) ++*count;
}

// Threads of a block of `best`.
constexpr unsigned CHOOSING = 512;

// Whether (a, i) comes before (b, j) among the best: the larger value, of equal ones that with the lower index.
static __device__ __forceinline__ bool comes_before(float a, unsigned i, float b, unsigned j) {
    return a > b || (a == b && i < j);
}

// The `wanted` largest of log(softmax(x)) of each row of x [rows, width], the largest first, of equal ones that with the
// lower index; a block for each row. A row with a NaN is all NaN, whose order is that of the indices. `out` [2, rows, wanted] has
// the indices and behind them the values, so that one copy brings both.
extern "C" __global__ void __launch_bounds__(CHOOSING) best(const float *x, unsigned *out, unsigned width, unsigned wanted) {
    __shared__ float value_of[CHOOSING];
    __shared__ unsigned index_of[CHOOSING];
    const float *row = x + (size_t)blockIdx.x * width;
    unsigned *indices = out + (size_t)blockIdx.x * wanted;
    float *values = reinterpret_cast<float *>(indices + (size_t)gridDim.x * wanted);
    float most = -INFINITY;
    bool has_nan = false;
    for (unsigned i = threadIdx.x; i < width; i += CHOOSING) {
        most = fmaxf(most, row[i]);
        has_nan = has_nan || isnan(row[i]);
    }
    value_of[threadIdx.x] = has_nan ? NAN : most;
    __syncthreads();
    for (unsigned half = CHOOSING / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            const float a = value_of[threadIdx.x], b = value_of[threadIdx.x + half];
            value_of[threadIdx.x] = isnan(a) || isnan(b) ? NAN : fmaxf(a, b);
        }
        __syncthreads();
    }
    most = value_of[0];
    __syncthreads();
    float sum = 0.0f;
    for (unsigned i = threadIdx.x; i < width; i += CHOOSING) sum += expf(row[i] - most);
    value_of[threadIdx.x] = sum;
    __syncthreads();
    for (unsigned half = CHOOSING / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) value_of[threadIdx.x] += value_of[threadIdx.x + half];
        __syncthreads();
    }
    const float total = logf(value_of[0]);
    const bool is_nan = isnan(total) || isnan(most);
    __syncthreads();

    float last = INFINITY;
    unsigned last_index = 0;
    for (unsigned n = 0; n < wanted; n++) {
        // The first of those that come after the last one; past the end if there is none.
        float found = -INFINITY;
        unsigned at = 0xffffffffu;
        for (unsigned i = threadIdx.x; i < width; i += CHOOSING) {
            const float value = is_nan ? -INFINITY : row[i] - most - total;
            const bool is_new = n == 0 || comes_before(last, last_index, value, i);
            if (is_new && comes_before(value, i, found, at)) {
                found = value;
                at = i;
            }
        }
        value_of[threadIdx.x] = found;
        index_of[threadIdx.x] = at;
        __syncthreads();
        for (unsigned half = CHOOSING / 2; half > 0; half /= 2) {
            if (threadIdx.x < half) {
                const unsigned other = threadIdx.x + half;
                if (comes_before(value_of[other], index_of[other], value_of[threadIdx.x], index_of[threadIdx.x])) {
                    value_of[threadIdx.x] = value_of[other];
                    index_of[threadIdx.x] = index_of[other];
                }
            }
            __syncthreads();
        }
        last = value_of[0];
        last_index = index_of[0];
        __syncthreads();
        if (threadIdx.x == 0) {
            indices[n] = last_index;
            values[n] = is_nan ? NAN : last;
        }
    }
}

#define KERNELS(T, name)                                                                                                \
    extern "C" __global__ void embed_##name(const T *tokens, const T *places, const unsigned *ids,                      \
                                            const unsigned *positions, T *out, unsigned width, unsigned offset) {       \
        embed(tokens, places, ids, positions, out, width, offset);                                                      \
    }                                                                                                                   \
    extern "C" __global__ void __launch_bounds__(LOOKING_WARPS * 32) look_back_##name(                                  \
        const T *all, T *seen, const unsigned *count, const unsigned *first, const unsigned *positions,                 \
        const float *slopes, const float *frequencies, T *out, unsigned room, unsigned head_dim, unsigned turned,       \
        int are_neighbours, int in_chunks, float scale) {                                                               \
        look_back(all, seen, count, first, positions, slopes, frequencies, out, room, head_dim, turned, are_neighbours, \
                  in_chunks, scale);                                                                                    \
    }                                                                                                                   \
    extern "C" __global__ void move_rows_##name(const T *from, T *to, const unsigned *parents, const unsigned *count,   \
                                                unsigned room, unsigned width, int is_back) {                           \
        move_rows(from, to, parents, count, room, width, is_back);                                                      \
    }                                                                                                                   \
    extern "C" __global__ void widen_##name(const T *x, float *out, size_t count) { widen(x, out, count); }

KERNELS(float, f32)
KERNELS(__half, f16)
KERNELS(__nv_bfloat16, bf16)
