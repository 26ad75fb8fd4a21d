/* Finds CUDA's libraries when the first of their functions is called, so that the program starts where there are none.
 *
 * The linker takes every function of libcuda, libcublas, libcublasLt, libcurand and libnvrtc that the program calls from
 * the archive that is made of this file and of what loader.py writes: for each function a jump through a slot. At first
 * a slot leads to sl_resolve below, which opens the library, puts the function's address into the slot and goes on there;
 * from then on a call costs one jump more than usual. What cannot be found returns an error code, and cuInit, which is
 * called before anything else, an error whose text says which library is missing and where it was looked for.
 *
 * Order of the search, for each library by its soname:
 *   1. the folders in SIGHTLINE_CUDA_LIB, separated by colons; if it is set, nothing else but 2 for the driver is tried
 *   2. what the dynamic loader finds: LD_LIBRARY_PATH, the system's folders
 *   3. NVIDIA's Python packages, nvidia/cu13/lib and nvidia/<any>/lib, below the site-packages of VIRTUAL_ENV, of
 *      CONDA_PREFIX, of the python3 on PATH, and of the user
 *   4. lib64 and lib of CUDA_HOME and CUDA_PATH, then /usr/local/cuda/lib64
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <glob.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Written by loader.py. */
struct library {
    const char *soname;
    /* What a function of it returns when it cannot be called. */
    long failure;
    /* Whether nothing works without it. The others are looked for when they are needed. */
    long is_needed;
    void *handle;
};
extern struct library sl_libraries[];
extern const unsigned sl_library_count;
extern const char *const sl_names[];
extern const unsigned char sl_library_of[];
extern void *sl_slots[];

/* Of the driver, whose errors have texts. */
enum { DRIVER = 0, CUDA_ERROR_STUB_LIBRARY = 34 };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char problem[4096];

static void say(const char *text) {
    size_t len = strlen(problem);
    snprintf(problem + len, sizeof problem - len, "%s", text);
}

static void *open_in(const char *folder, const char *soname) {
    char path[4096];
    if (snprintf(path, sizeof path, "%s/%s", folder, soname) >= (int)sizeof path) return NULL;
    if (access(path, R_OK) != 0) return NULL;
    void *handle = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (!handle) {
        say(" (");
        say(dlerror());
        say(")");
    }
    return handle;
}

static void *open_in_pattern(const char *pattern, const char *soname) {
    glob_t found;
    void *handle = NULL;
    if (glob(pattern, 0, NULL, &found) != 0) return NULL;
    for (size_t i = 0; i < found.gl_pathc && !handle; i++) handle = open_in(found.gl_pathv[i], soname);
    globfree(&found);
    return handle;
}

/* Below <prefix>/lib/python3.x. */
static void *open_in_python(const char *prefix, const char *soname) {
    static const char *const forms[] = {
        "%s/lib/python3*/site-packages/nvidia/cu13/lib", "%s/lib/python3*/site-packages/nvidia/*/lib",
        "%s/lib/python3*/dist-packages/nvidia/cu13/lib", "%s/lib/python3*/dist-packages/nvidia/*/lib",
    };
    void *handle = NULL;
    for (size_t i = 0; i < sizeof forms / sizeof *forms && !handle; i++) {
        char pattern[4096];
        if (snprintf(pattern, sizeof pattern, forms[i], prefix) < (int)sizeof pattern)
            handle = open_in_pattern(pattern, soname);
    }
    return handle;
}

/* Calls open with each part of a list of folders. */
static void *each(const char *list, const char *soname, void *(*open)(const char *, const char *)) {
    void *handle = NULL;
    char *copy = list ? strdup(list) : NULL, *rest = copy;
    for (char *part; rest && !handle && (part = strsep(&rest, ":"));)
        if (*part) handle = open(part, soname);
    free(copy);
    return handle;
}

/* folder is one of PATH; if it holds python3, the packages beside it. */
static void *open_beside_python(const char *folder, const char *soname) {
    char python[4096];
    if (snprintf(python, sizeof python, "%s/python3", folder) >= (int)sizeof python) return NULL;
    if (access(python, X_OK) != 0) return NULL;
    if (snprintf(python, sizeof python, "%s/..", folder) >= (int)sizeof python) return NULL;
    return open_in_python(python, soname);
}

static void *open_in_toolkit(const char *home, const char *soname) {
    char folder[4096];
    void *handle = NULL;
    for (int i = 0; i < 2 && !handle; i++)
        if (snprintf(folder, sizeof folder, "%s/%s", home, i ? "lib" : "lib64") < (int)sizeof folder)
            handle = open_in(folder, soname);
    return handle;
}

static void *find(const char *soname, int is_driver) {
    const char *named = getenv("SIGHTLINE_CUDA_LIB");
    void *handle = each(named, soname, open_in);
    if (handle || (named && *named && !is_driver)) return handle;
    if ((handle = dlopen(soname, RTLD_NOW | RTLD_GLOBAL))) return handle;
    /* The driver belongs to the system, and is in no package. */
    if (is_driver) return NULL;
    if ((handle = each(getenv("VIRTUAL_ENV"), soname, open_in_python))) return handle;
    if ((handle = each(getenv("CONDA_PREFIX"), soname, open_in_python))) return handle;
    if ((handle = each(getenv("PATH"), soname, open_beside_python))) return handle;
    const char *home = getenv("HOME");
    char local[4096];
    if (home && snprintf(local, sizeof local, "%s/.local", home) < (int)sizeof local)
        if ((handle = open_in_python(local, soname))) return handle;
    if ((handle = each(getenv("CUDA_HOME"), soname, open_in_toolkit))) return handle;
    if ((handle = each(getenv("CUDA_PATH"), soname, open_in_toolkit))) return handle;
    return open_in_toolkit("/usr/local/cuda", soname);
}

static void open_all(void) {
    for (unsigned i = 0; i < sl_library_count; i++) {
        if (!sl_libraries[i].is_needed) continue;
        char before[sizeof problem];
        memcpy(before, problem, sizeof problem);
        sl_libraries[i].handle = find(sl_libraries[i].soname, i == DRIVER);
        if (sl_libraries[i].handle) {
            memcpy(problem, before, sizeof problem);
            continue;
        }
        say(*problem ? "; " : "");
        say(sl_libraries[i].soname);
        if (i == DRIVER) {
            say(" is not there: no NVIDIA driver is installed, or it is not visible here");
            /* Without it the others are of no use. */
            return;
        }
        say(" is not in SIGHTLINE_CUDA_LIB, where the system's loader looks, among the packages of python3, or in "
            "CUDA_HOME");
    }
}

static const char *no_text(void) { return *problem ? problem : "a library of CUDA's is missing"; }

/* What is called in the place of what is missing, by what it returns. */
static long failed_driver(void) { return 999; }
static long failed_cublas(void) { return 1; }
static long failed_curand(void) { return 101; }
static long failed_nvrtc(void) { return 11; }

static void *failing(long failure) {
    switch (failure) {
    case 1: return (void *)failed_cublas;
    case 11: return (void *)failed_nvrtc;
    case 101: return (void *)failed_curand;
    default: return (void *)failed_driver;
    }
}

static void *open_late(struct library *library) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    if (!library->handle) library->handle = find(library->soname, 0);
    pthread_mutex_unlock(&lock);
    return library->handle;
}

/* The address of function number index, which is then called with the arguments of the caller. */
void *sl_resolve(unsigned long index) {
    pthread_once(&once, open_all);
    struct library *library = &sl_libraries[sl_library_of[index]];
    const char *name = sl_names[index];
    void *handle = library->is_needed ? library->handle : open_late(library);
    void *address = handle ? dlsym(handle, name) : NULL;
    if (address) {
        sl_slots[index] = address;
        return address;
    }
    if (strstr(name, "GetErrorString") || strstr(name, "GetStatusString") || strstr(name, "GetStatusName"))
        return (void *)no_text;
    return failing(library->failure);
}

/* Called before any other function of the driver: the place to say that something is missing. */
int cuInit(unsigned flags) {
    pthread_once(&once, open_all);
    if (*problem) return CUDA_ERROR_STUB_LIBRARY;
    int (*real)(unsigned) = (int (*)(unsigned))dlsym(sl_libraries[DRIVER].handle, "cuInit");
    return real ? real(flags) : CUDA_ERROR_STUB_LIBRARY;
}

int cuGetErrorString(int error, const char **text) {
    if (*problem) {
        *text = problem;
        return 0;
    }
    int (*real)(int, const char **) = (int (*)(int, const char **))dlsym(sl_libraries[DRIVER].handle, "cuGetErrorString");
    return real ? real(error, text) : CUDA_ERROR_STUB_LIBRARY;
}

int cuGetErrorName(int error, const char **text) {
    if (*problem) {
        *text = "a library is missing";
        return 0;
    }
    int (*real)(int, const char **) = (int (*)(int, const char **))dlsym(sl_libraries[DRIVER].handle, "cuGetErrorName");
    return real ? real(error, text) : CUDA_ERROR_STUB_LIBRARY;
}

/* In the place of the quantised matrix products that ./nvcc leaves out. No model gets here. */
void sl_left_out(void) {
    static const char text[] = "sightline: this program was built without quantised matrix products\n";
    if (write(2, text, sizeof text - 1) < 0) _exit(70);
    abort();
}
