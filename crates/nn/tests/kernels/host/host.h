// What the kernels need of CUDA, for a C++ compiler of this machine: their threads in turn, each on a stack of its own,
// and the instructions of a warp.
//
// A thread runs until it waits for others: at a barrier of the block, or where the threads of its warp meet to exchange
// something. The others then follow in order, or backwards, so that a barrier that is missing changes what is computed.
// What can only be wrong (threads of a warp that meet for different things, one that is waited for and has ended, an
// address that an instruction does not take) ends the launch with a message.
#pragma once

#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

#include <memory>

#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define __shared__ static thread_local

// Numbers of 16 bits.

template <typename To, typename From> static To as_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "bits of another size");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}

struct __half {
    uint16_t bits;
    __half() = default;
    explicit __half(float x);
};

struct __nv_bfloat16 {
    uint16_t bits;
    __nv_bfloat16() = default;
    explicit __nv_bfloat16(float x);
};

// To the nearest, of two to the even one.
inline __half::__half(float x) {
    uint32_t u = as_bits<uint32_t>(x);
    const uint16_t sign = u >> 16 & 0x8000;
    u &= 0x7fffffff;
    if (u > 0x7f800000) {
        bits = 0x7fff;
    } else if (u >= 0x477ff000) { // 65520, halfway between the largest number and the next power of 2
        bits = sign | 0x7c00;
    } else if (u < 0x38800000) { // 2^-14: below, multiples of 2^-24, to which adding 1/2 rounds
        bits = sign | (uint16_t)(as_bits<uint32_t>(fabsf(x) + 0.5f) - as_bits<uint32_t>(0.5f));
    } else {
        u += 0xfff + (u >> 13 & 1);
        bits = sign | (uint16_t)((u - 0x38000000) >> 13);
    }
}

inline __nv_bfloat16::__nv_bfloat16(float x) {
    uint32_t u = as_bits<uint32_t>(x);
    if (isnan(x)) {
        bits = 0x7fff;
        return;
    }
    u += 0x7fff + (u >> 16 & 1);
    bits = (uint16_t)(u >> 16);
}

static inline float __half2float(__half x) {
    const uint32_t sign = (x.bits & 0x8000u) << 16, exponent = x.bits >> 10 & 31, mantissa = x.bits & 0x3ff;
    if (exponent == 0) {
        const float size = (float)mantissa * 0x1p-24f;
        return sign ? -size : size;
    }
    return as_bits<float>(sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | mantissa << 13);
}

static inline float __bfloat162float(__nv_bfloat16 x) { return as_bits<float>((uint32_t)x.bits << 16); }
static inline __half __float2half_rn(float x) { return __half(x); }
static inline __nv_bfloat16 __float2bfloat16_rn(float x) { return __nv_bfloat16(x); }

struct alignas(4) __half2 {
    __half x, y;
};
struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};
static inline __half2 __floats2half2_rn(float a, float b) { return {__half(a), __half(b)}; }
static inline __nv_bfloat162 __floats2bfloat162_rn(float a, float b) { return {__nv_bfloat16(a), __nv_bfloat16(b)}; }

struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
static inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }

// As CUDA computes it: a power of 2. The C library has a declaration of that name.
static inline float exponential(float x) { return exp2f(x * 1.44269504f); }
#define __expf exponential

// The threads of a block.

struct Index {
    unsigned x, y, z;
};
static thread_local Index threadIdx, blockIdx, blockDim, gridDim;

constexpr unsigned LANES = 32, MOST_THREADS = 1024, STACK_BYTES = 64 << 10;

struct Thread {
    jmp_buf at;
    bool has_begun, has_ended;
    // It waits until the number there is another one.
    const unsigned *counter;
    unsigned seen;
};

// What a thread brings to where its warp meets, and takes from there.
struct Brought {
    unsigned a[4], b[2];
    float c[4];
    const void *row;
};

enum class Meeting { EXCHANGE, MULTIPLY, LOAD };

struct Warp {
    Meeting meets_for;
    unsigned arrived, meetings;
    // In turn, as a thread may bring something to the next meeting before others took theirs from the last.
    Brought brought[2][LANES];
};

struct Block {
    unsigned threads, running, arrived, barriers, current;
    const char *failure;
    jmp_buf scheduler;
    void (*kernel)(void *);
    void *arguments;
    Thread thread[MOST_THREADS];
    Warp warp[MOST_THREADS / LANES];
    std::unique_ptr<char[]> stacks;
};
static thread_local std::unique_ptr<Block> block;

[[noreturn, gnu::noinline]] static void to_scheduler() { _longjmp(block->scheduler, 1); }

[[noreturn]] static void fail(const char *message) {
    block->failure = message;
    to_scheduler();
}

[[gnu::noinline]] static void wait_for(const unsigned *counter) {
    Thread &self = block->thread[block->current];
    self.counter = counter;
    self.seen = *counter;
    if (_setjmp(self.at) == 0) to_scheduler();
}

static void open_if_all_are_there() {
    if (block->arrived == 0 || block->arrived < block->running) return;
    block->arrived = 0;
    block->barriers++;
}

static void begin() {
    block->kernel(block->arguments);
    block->thread[block->current].has_ended = true;
    block->running--;
    open_if_all_are_there();
    to_scheduler();
}

[[noreturn, gnu::noinline]] static void to_thread(unsigned number) {
    Thread &thread = block->thread[number];
    if (thread.has_begun) _longjmp(thread.at, 1);
    thread.has_begun = true;
    static thread_local ucontext_t start;
    if (getcontext(&start) != 0) fail("no context for a thread");
    start.uc_stack.ss_sp = block->stacks.get() + (size_t)number * STACK_BYTES;
    start.uc_stack.ss_size = STACK_BYTES;
    start.uc_link = nullptr;
    makecontext(&start, begin, 0);
    setcontext(&start);
    fail("a thread does not start");
}

[[gnu::noinline]] static void go_on(unsigned number) {
    block->current = number;
    threadIdx = {number, 0, 0};
    if (_setjmp(block->scheduler) == 0) to_thread(number);
}

static const char *run_block(bool backwards) {
    for (unsigned i = 0; i < block->threads; i++) block->thread[i].has_begun = block->thread[i].has_ended = false;
    for (unsigned i = 0; i < block->threads / LANES; i++) block->warp[i].arrived = 0;
    block->running = block->threads;
    block->arrived = 0;
    block->failure = nullptr;
    for (bool moved = true; moved && block->running > 0;) {
        moved = false;
        for (unsigned w = 0; w < block->threads / LANES; w++) {
            const unsigned warp = backwards ? block->threads / LANES - 1 - w : w;
            for (bool again = true; again;) {
                again = false;
                for (unsigned l = 0; l < LANES; l++) {
                    const unsigned number = warp * LANES + (backwards ? LANES - 1 - l : l);
                    const Thread &thread = block->thread[number];
                    if (thread.has_ended || (thread.has_begun && *thread.counter == thread.seen)) continue;
                    go_on(number);
                    if (block->failure) return block->failure;
                    again = moved = true;
                }
            }
        }
    }
    return block->running > 0 ? "threads wait for others that have ended" : nullptr;
}

// Runs a kernel, block by block; `kernel` is called for each thread. Returns null or what went wrong.
extern "C" const char *launch(const unsigned *blocks, unsigned threads, bool backwards, void (*kernel)(void *),
                              void *arguments) {
    if (threads == 0 || threads % LANES != 0 || threads > MOST_THREADS) return "no whole warps, or too many";
    if (!block) block.reset(new Block());
    if (block->threads < threads) block->stacks.reset(new char[(size_t)threads * STACK_BYTES]);
    block->threads = threads;
    block->kernel = kernel;
    block->arguments = arguments;
    gridDim = {blocks[0], blocks[1], blocks[2]};
    blockDim = {threads, 1, 1};
    const unsigned count = gridDim.x * gridDim.y * gridDim.z;
    for (unsigned i = 0; i < count; i++) {
        const unsigned at = backwards ? count - 1 - i : i;
        blockIdx = {at % gridDim.x, at / gridDim.x % gridDim.y, at / gridDim.x / gridDim.y};
        if (const char *failure = run_block(backwards)) return failure;
    }
    return nullptr;
}

static inline void __syncthreads() {
    block->arrived++;
    const unsigned *const barriers = &block->barriers, before = *barriers;
    open_if_all_are_there();
    if (*barriers == before) wait_for(barriers);
}

// All threads of the warp meet for the same thing; the last calls `together`. Returns what each then has.
static inline const Brought *meet(Meeting what, const Brought &mine, void (*together)(Brought *)) {
    Warp &warp = block->warp[block->current / LANES];
    Brought *const brought = warp.brought[warp.meetings % 2];
    if (warp.arrived == 0) warp.meets_for = what;
    if (warp.meets_for != what) fail("threads of a warp meet for different things");
    brought[block->current % LANES] = mine;
    if (++warp.arrived < LANES) {
        wait_for(&warp.meetings);
    } else {
        if (together) together(brought);
        warp.arrived = 0;
        warp.meetings++;
    }
    return brought;
}

static inline float __shfl_xor_sync(unsigned mask, float x, int step) {
    if (mask != 0xffffffffu) fail("an exchange within a part of a warp");
    const unsigned lane = block->current % LANES;
    return meet(Meeting::EXCHANGE, {{}, {}, {x}, nullptr}, nullptr)[lane ^ (unsigned)step].c[0];
}

static inline void __syncwarp() { meet(Meeting::EXCHANGE, {}, nullptr); }

// The layouts of mma.m16n8k16 and ldmatrix in registers are those of the figures and formulas of the PTX ISA, sections
// "Matrix Fragments for mma.m16n8k16 with floating point type" and "ldmatrix": element i of a thread's part is the lower
// half (i even) or the upper one of register i / 2.

template <typename T> static float widened(uint16_t bits);
template <> inline float widened<__half>(uint16_t bits) { return __half2float(as_bits<__half>(bits)); }
template <> inline float widened<__nv_bfloat16>(uint16_t bits) {
    return __bfloat162float(as_bits<__nv_bfloat16>(bits));
}

template <typename T> static float element(const unsigned *registers, unsigned i) {
    return widened<T>((uint16_t)(registers[i / 2] >> 16 * (i % 2)));
}

// c += a b, of 16 x 16 and 16 x 8. Products are exact in float; a GPU says no more of their sums than that they are float's.
template <typename T> static void mma_m16n8k16(Brought *brought) {
    float a[16][16], b[16][8];
    for (unsigned lane = 0; lane < LANES; lane++) {
        const unsigned group = lane >> 2, in_group = lane % 4;
        for (unsigned i = 0; i < 8; i++) {
            const unsigned row = i < 2 || (4 <= i && i < 6) ? group : group + 8;
            const unsigned column = i < 4 ? in_group * 2 + (i & 1) : in_group * 2 + (i & 1) + 8;
            a[row][column] = element<T>(brought[lane].a, i);
        }
        for (unsigned i = 0; i < 4; i++) {
            const unsigned row = i < 2 ? in_group * 2 + (i & 1) : in_group * 2 + (i & 1) + 8;
            b[row][group] = element<T>(brought[lane].b, i);
        }
    }
    float sums[16][8] = {};
    for (unsigned row = 0; row < 16; row++)
        for (unsigned k = 0; k < 16; k++)
            for (unsigned column = 0; column < 8; column++) sums[row][column] += a[row][k] * b[k][column];
    for (unsigned lane = 0; lane < LANES; lane++)
        for (unsigned i = 0; i < 4; i++) {
            const unsigned row = i < 2 ? lane >> 2 : (lane >> 2) + 8, column = lane % 4 * 2 + (i & 1);
            brought[lane].c[i] += sums[row][column];
        }
}

template <typename T>
static inline void multiply(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, T) {
    const Brought *brought =
        meet(Meeting::MULTIPLY, {{a[0], a[1], a[2], a[3]}, {b0, b1}, {c[0], c[1], c[2], c[3]}, nullptr}, mma_m16n8k16<T>);
    memcpy(c, brought[block->current % LANES].c, sizeof c);
}

// Four tiles of 8 x 8; threads 0 to 7 have the addresses of the rows of the first, 8 to 15 those of the second, …. A thread
// gets elements 2 (lane % 4) and the next of row lane / 4; with `trans` those of that column.
template <bool TRANSPOSED> static void ldmatrix_m8n8_x4(Brought *brought) {
    for (unsigned lane = 0; lane < LANES; lane++)
        for (unsigned tile = 0; tile < 4; tile++) {
            uint16_t both[2];
            for (unsigned i = 0; i < 2; i++) {
                const unsigned across = lane % 4 * 2 + i, down = lane / 4;
                const char *row = (const char *)brought[tile * 8 + (TRANSPOSED ? across : down)].row;
                memcpy(&both[i], row + (TRANSPOSED ? down : across) * 2, 2);
            }
            brought[lane].a[tile] = both[0] | (unsigned)both[1] << 16;
        }
}

template <bool TRANSPOSED> static inline void load_tiles(unsigned (&b)[4], const void *row) {
    if ((uintptr_t)row % 16 != 0) fail("ldmatrix of an address that is no multiple of 16");
    const Brought *brought = meet(Meeting::LOAD, {{}, {}, {}, row}, ldmatrix_m8n8_x4<TRANSPOSED>);
    memcpy(b, brought[block->current % LANES].a, sizeof b);
}

static inline void tiles(unsigned (&b)[4], const void *row) { load_tiles<false>(b, row); }
static inline void transposed_tiles(unsigned (&b)[4], const void *row) { load_tiles<true>(b, row); }

// For the test of the conversions.
extern "C" uint16_t narrowed_f16(float x) { return __half(x).bits; }
extern "C" uint16_t narrowed_bf16(float x) { return __nv_bfloat16(x).bits; }
extern "C" float widened_f16(uint16_t bits) { return widened<__half>(bits); }
extern "C" float widened_bf16(uint16_t bits) { return widened<__nv_bfloat16>(bits); }

// A standard attribute must not stand behind __shared__ as the kernels' do.
#define alignas(bytes) __attribute__((aligned(bytes)))
