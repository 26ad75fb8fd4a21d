/* A library with nvJPEG's functions for tests: a "file" is the bytes F, width, height, red, green, blue and, last, the
 * answer that decoding it gives; or a JPEG file, which is painted grey (128), with the answer in a comment of one byte.
 * Handles are counted, so that a test sees what is not given back, and so are the files that were painted. */
#define _DEFAULT_SOURCE
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef void *handle;
struct picture { unsigned char *channel[4]; size_t pitch[4]; };
struct file { const unsigned char *data; size_t length; };

int fake_handles = 0;
int fake_starts = 0;
int fake_engines = 1;
int fake_painted = 0;
/* Calls for batches, and how long each takes, or a single file, in microseconds. */
int fake_batches = 0;
int fake_pause = 0;

static int make(handle *to) {
    *to = calloc(1, sizeof(struct file));
    __atomic_add_fetch(&fake_handles, 1, __ATOMIC_SEQ_CST);
    return 0;
}
static int give_back(handle from) {
    free(from);
    __atomic_sub_fetch(&fake_handles, 1, __ATOMIC_SEQ_CST);
    return 0;
}

/* The segments of a JPEG file up to the frame. */
static int paint_jpeg(const unsigned char *data, size_t length, struct picture *to) {
    size_t at = 2;
    int answer = 0;
    while (at + 9 < length && data[at] == 0xff) {
        if (data[at + 1] == 0xfe) answer = data[at + 4];
        if (data[at + 1] == 0xc0) {
            int height = data[at + 5] << 8 | data[at + 6], width = data[at + 7] << 8 | data[at + 8];
            if (answer) return answer;
            for (int y = 0; y < height; y++) memset(to->channel[0] + y * to->pitch[0], 128, 3 * (size_t)width);
            __atomic_add_fetch(&fake_painted, 1, __ATOMIC_SEQ_CST);
            return 0;
        }
        at += 2 + ((size_t)data[at + 2] << 8 | data[at + 3]);
    }
    return 3;
}

static int paint(const unsigned char *data, size_t length, struct picture *to) {
    if (length > 2 && data[0] == 0xff) return paint_jpeg(data, length, to);
    if (length != 7 || data[0] != 'F') return 3;
    if (data[6]) return data[6];
    for (int y = 0; y < data[2]; y++)
        for (int x = 0; x < data[1]; x++)
            for (int c = 0; c < 3; c++) to->channel[0][y * to->pitch[0] + 3 * x + c] = data[3 + c];
    return 0;
}

int nvjpegCreateEx(int back_end, void *d, void *p, unsigned flags, handle *to) {
    (void)d, (void)p, (void)flags;
    return back_end == 3 && !fake_engines ? 7 : make(to);
}
int nvjpegDestroy(handle h) { return give_back(h); }
int nvjpegJpegStateCreate(handle h, handle *to) { (void)h; return make(to); }
int nvjpegJpegStateDestroy(handle h) { return give_back(h); }
int nvjpegDecodeBatchedInitialize(handle h, handle s, int count, int threads, int format) {
    (void)h, (void)s, (void)count, (void)threads;
    __atomic_add_fetch(&fake_starts, 1, __ATOMIC_SEQ_CST);
    *(int *)s = count;
    return format == 5 ? 0 : 2;
}
int nvjpegDecodeBatched(handle h, handle s, const unsigned char *const *data, const size_t *lengths, struct picture *to, void *stream) {
    (void)h, (void)stream;
    __atomic_add_fetch(&fake_batches, 1, __ATOMIC_SEQ_CST);
    if (fake_pause) usleep(fake_pause);
    for (int i = 0; i < *(int *)s; i++) {
        int answer = paint(data[i], lengths[i], &to[i]);
        if (answer) return answer;
    }
    return 0;
}
int nvjpegJpegStreamCreate(handle h, handle *to) { (void)h; return make(to); }
int nvjpegJpegStreamDestroy(handle h) { return give_back(h); }
int nvjpegJpegStreamParse(handle h, const unsigned char *data, size_t length, int m, int s, handle to) {
    (void)h, (void)m, (void)s;
    struct file *file = to;
    file->data = data, file->length = length;
    return length > 0 && (data[0] == 'F' || data[0] == 0xff) ? 0 : 3;
}
int nvjpegJpegStreamParseHeader(handle h, const unsigned char *data, size_t length, handle to) {
    return nvjpegJpegStreamParse(h, data, length, 0, 0, to);
}
int nvjpegDecodeBatchedSupported(handle h, handle file, int *refused) {
    (void)h;
    const struct file *of = file;
    *refused = of->data[0] == 'F' && of->length != 7;
    return 0;
}
int nvjpegDecoderCreate(handle h, int back_end, handle *to) { (void)h, (void)back_end; return make(to); }
int nvjpegDecoderDestroy(handle h) { return give_back(h); }
int nvjpegDecoderStateCreate(handle h, handle d, handle *to) { (void)h, (void)d; return make(to); }
int nvjpegBufferPinnedCreate(handle h, void *a, handle *to) { (void)h, (void)a; return make(to); }
int nvjpegBufferPinnedDestroy(handle h) { return give_back(h); }
int nvjpegBufferDeviceCreate(handle h, void *a, handle *to) { (void)h, (void)a; return make(to); }
int nvjpegBufferDeviceDestroy(handle h) { return give_back(h); }
int nvjpegStateAttachPinnedBuffer(handle s, handle b) { (void)s, (void)b; return 0; }
int nvjpegStateAttachDeviceBuffer(handle s, handle b) { (void)s, (void)b; return 0; }
int nvjpegDecodeParamsCreate(handle h, handle *to) { (void)h; return make(to); }
int nvjpegDecodeParamsDestroy(handle h) { return give_back(h); }
int nvjpegDecodeParamsSetOutputFormat(handle p, int format) { (void)p; return format == 5 ? 0 : 2; }
int nvjpegDecodeJpegHost(handle h, handle d, handle state, handle params, handle file) {
    (void)h, (void)d, (void)params;
    if (fake_pause) usleep(fake_pause);
    *(struct file *)state = *(struct file *)file;
    return 0;
}
int nvjpegDecodeJpegTransferToDevice(handle h, handle d, handle s, handle f, void *stream) {
    (void)h, (void)d, (void)s, (void)f, (void)stream;
    return 0;
}
int nvjpegDecodeJpegDevice(handle h, handle d, handle state, struct picture *to, void *stream) {
    (void)h, (void)d, (void)stream;
    return paint(((struct file *)state)->data, ((struct file *)state)->length, to);
}
