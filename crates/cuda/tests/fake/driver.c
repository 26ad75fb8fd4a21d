/* A driver for tests: a card whose memory is the host's, whose streams do everything at once, and whose one kernel is
 * resize.cu compiled as C. What it counts and how it fails is set from outside. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/kernels/resize.cu"

typedef int result;
typedef unsigned long long pointer;
enum { SUCCESS = 0, OUT_OF_MEMORY = 2, LAUNCH_FAILED = 719 };

/* The version that the driver says; cards that there are. */
int fake_version = 13000;
int fake_cards = 1;
/* Bytes that may be given out, and are. */
size_t fake_memory = (size_t)1 << 40;
size_t fake_used = 0;
/* Launches so far, and how many succeed before the card is gone. */
int fake_launches = 0;
int fake_lives = 1 << 30;
/* Whether launches do nothing, for tests of what is around them. */
int fake_idle = 0;

static int handle;

result cuInit(unsigned flags) { (void)flags; return fake_cards ? SUCCESS : 100; }
result cuDriverGetVersion(int *to) { *to = fake_version; return SUCCESS; }
result cuDeviceGetCount(int *to) { *to = fake_cards; return SUCCESS; }
result cuDeviceGet(int *to, int number) { *to = number; return SUCCESS; }
result cuDeviceGetName(char *to, int length, int card) { (void)card; strncpy(to, "a fake card", length); return SUCCESS; }
/* 75, 76: compute capability; 97: shared memory of a block; others are not there. */
result cuDeviceGetAttribute(int *to, int attribute, int card) {
    (void)card;
    *to = attribute == 75 ? 9 : attribute == 97 ? 232448 : 0;
    return SUCCESS;
}
result cuDevicePrimaryCtxRetain(void **to, int card) { (void)card; *to = &handle; return SUCCESS; }
result cuDevicePrimaryCtxRelease_v2(int card) { (void)card; return SUCCESS; }
result cuCtxGetCurrent(void **to) { *to = &handle; return SUCCESS; }
result cuCtxSetCurrent(void *context) { (void)context; return SUCCESS; }
result cuCtxSynchronize(void) { return SUCCESS; }
result cuMemGetInfo_v2(size_t *free_bytes, size_t *all) { *free_bytes = fake_memory - fake_used, *all = fake_memory; return SUCCESS; }
result cuStreamCreate(void **to, unsigned flags) { (void)flags; *to = malloc(1); return SUCCESS; }
result cuStreamDestroy_v2(void *stream) { free(stream); return SUCCESS; }
result cuStreamSynchronize(void *stream) { (void)stream; return SUCCESS; }
result cuStreamWaitEvent(void *stream, void *event, unsigned flags) { (void)stream, (void)event, (void)flags; return SUCCESS; }
result cuEventCreate(void **to, unsigned flags) { (void)flags; *to = malloc(1); return SUCCESS; }
result cuEventDestroy_v2(void *event) { free(event); return SUCCESS; }
result cuEventRecord(void *event, void *stream) { (void)event, (void)stream; return SUCCESS; }
result cuEventSynchronize(void *event) { (void)event; return SUCCESS; }

/* The bytes that were asked for stand before what is given out, which is filled so that nothing is zero by chance. */
result cuMemAlloc_v2(pointer *to, size_t bytes) {
    if (__atomic_add_fetch(&fake_used, bytes, __ATOMIC_SEQ_CST) > fake_memory) {
        __atomic_sub_fetch(&fake_used, bytes, __ATOMIC_SEQ_CST);
        return OUT_OF_MEMORY;
    }
    char *start = aligned_alloc(256, (bytes + 511) / 256 * 256);
    *(size_t *)start = bytes;
    memset(start + 256, 0xd5, bytes);
    *to = (pointer)(start + 256);
    return SUCCESS;
}
result cuMemFree_v2(pointer from) {
    char *start = (char *)from - 256;
    __atomic_sub_fetch(&fake_used, *(size_t *)start, __ATOMIC_SEQ_CST);
    free(start);
    return SUCCESS;
}
result cuMemHostAlloc(void **to, size_t bytes, unsigned flags) { (void)flags; *to = aligned_alloc(256, (bytes + 255) / 256 * 256); return SUCCESS; }
result cuMemFreeHost(void *from) { free(from); return SUCCESS; }
result cuMemcpyHtoDAsync_v2(pointer to, const void *from, size_t bytes, void *stream) {
    (void)stream;
    memcpy((void *)to, from, bytes);
    return SUCCESS;
}
result cuMemcpyDtoHAsync_v2(void *to, pointer from, size_t bytes, void *stream) {
    (void)stream;
    memcpy(to, (void *)from, bytes);
    return SUCCESS;
}
result cuMemsetD8Async(pointer to, unsigned char value, size_t bytes, void *stream) {
    (void)stream;
    memset((void *)to, value, bytes);
    return SUCCESS;
}
result cuModuleLoadData(void **to, const void *code) { *to = &handle; return memcmp(code, "\x7f" "ELF", 4) ? 200 : SUCCESS; }
result cuModuleUnload(void *module) { (void)module; return SUCCESS; }
result cuModuleGetFunction(void **to, void *module, const char *name) { (void)module; *to = &handle; return strcmp(name, "resize") ? 500 : SUCCESS; }
result cuFuncSetAttribute(void *function, int attribute, int value) { (void)function, (void)attribute, (void)value; return SUCCESS; }
result cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by, unsigned bz,
                      unsigned shared, void *stream, void **arguments, void **extra) {
    (void)function, (void)bx, (void)by, (void)bz, (void)stream, (void)extra;
    if (__atomic_add_fetch(&fake_launches, 1, __ATOMIC_SEQ_CST) > fake_lives) return LAUNCH_FAILED;
    if (fake_idle) return SUCCESS;
    struct Shape shape = *(struct Shape *)arguments[4];
    if (x != (shape.width + TILE_COLUMNS - 1) / TILE_COLUMNS || y != (shape.height + shape.tile_rows - 1) / shape.tile_rows)
        return 1;
    word_t *memory = aligned_alloc(16, (shared + 15) / 16 * 16);
    resize_on_host(*(const struct Job **)arguments[0], z, *(const word_t **)arguments[1], *(const word_t **)arguments[2],
                   *(address_t *)arguments[3], &shape, memory);
    free(memory);
    return SUCCESS;
}
result cuGetErrorName(int error, const char **to) { (void)error; *to = "FAKE"; return SUCCESS; }
result cuGetErrorString(int error, const char **to) { *to = error == LAUNCH_FAILED ? "the card is gone" : "no"; return SUCCESS; }

/* NVRTC, whose machine code is taken by the driver above. */
int nvrtcCreateProgram(void **to, const char *source, const char *name, int headers, const char *const *h, const char *const *n) {
    (void)source, (void)name, (void)headers, (void)h, (void)n;
    *to = &handle;
    return 0;
}
int nvrtcCompileProgram(void *program, int options, const char *const *o) { (void)program, (void)options, (void)o; return 0; }
int nvrtcGetCUBINSize(void *program, size_t *to) { (void)program; *to = 4; return 0; }
int nvrtcGetCUBIN(void *program, char *to) { (void)program; memcpy(to, "\x7f" "ELF", 4); return 0; }
int nvrtcGetProgramLogSize(void *program, size_t *to) { (void)program; *to = 1; return 0; }
int nvrtcGetProgramLog(void *program, char *to) { (void)program; *to = 0; return 0; }
int nvrtcDestroyProgram(void **program) { *program = NULL; return 0; }
const char *nvrtcGetErrorString(int error) { (void)error; return "fake"; }
