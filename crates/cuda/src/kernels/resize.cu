/* Antialiased resize + crop + look-up of values, for a batch of RGB images of different sizes in one launch.
 *
 * Both passes are those of the crate `imaging` (Pillow's and torchvision's fixed point, bit for bit):
 * byte((half + sum(source * weight)) >> bits) in 32-bit integers that wrap.
 *
 * A block makes a tile of TILE_COLUMNS columns and `shape.tile_rows` rows of one tensor. A weight is three bytes,
 * so that four products with four neighbouring bytes of the source are one instruction (dp4a) for each of the three:
 * sum(v * w) = sum(v * w0) + (sum(v * w1) << 8) + (sum(v * w2) << 16), exact modulo 2^32. The bytes come four
 * neighbouring columns of a channel to a word in the first pass, four neighbouring rows in the second.
 *
 * The file is C as well: the phases between two barriers are functions of one thread, and the tests compile them for
 * the host and call them for one thread after the other.
 */

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define ON_DEVICE 1
#define PHASE static __device__ __forceinline__
#else
#define PHASE static inline
#endif

typedef unsigned char byte_t;
typedef unsigned short half_t;
typedef unsigned int word_t;
typedef unsigned long long address_t;

#define TILE_COLUMNS 32u
#define LANES 32u
#define WARPS 8u
/* Rows that a word holds. */
#define GROUP 4u
/* Words of a channel that a lane loads at once: sixteen columns, 48 bytes. */
#define CHUNK 4u
/* Words of the look-up table: 256 for each channel. */
#define VALUES 768u

/* Where a table starts, how many target pixels it has, words of a target pixel, fractional bits. At the start are the
 * first words of the target pixels; then the weights, [word][byte of the weight][target pixel]. */
struct Table {
    word_t start;
    word_t count;
    word_t words;
    word_t bits;
};

/* One image. Mirrors `Batch::push` in layout.rs. */
struct Job {
    /* First byte of the first row that is read; a multiple of 16. */
    address_t source;
    /* Bytes from row to row, 48 for each sixteen columns begun. */
    word_t stride;
    /* Rows that are read. */
    word_t rows;
    struct Table across;
    struct Table down;
    /* Columns and rows to the left of the window and above it in the tensor. */
    word_t left;
    word_t top;
    /* Place of the image in the batch. */
    word_t image;
    /* 1 if rows are summed first. */
    word_t vertical_first;
};

/* What all images share. Mirrors `Shape` in layout.rs. */
struct Shape {
    word_t width;
    word_t height;
    /* Red, green and blue around the window. */
    word_t fill[3];
    /* Rows of a tile. */
    word_t tile_rows;
    /* 1 for [image, row, column, channel] instead of [image, channel, row, column]. */
    word_t channels_last;
    /* 1 for values of 4 bytes, 0 for values of 2. */
    word_t wide;
};

/* A table, with its addresses. */
struct Axis {
    word_t count;
    word_t words;
    word_t bits;
    const word_t *firsts;
    const word_t *weights;
};

PHASE struct Axis axis_at(const word_t *tables, struct Table table) {
    struct Axis axis;
    axis.count = table.count;
    axis.words = table.words;
    axis.bits = table.bits;
    axis.firsts = tables + table.start;
    axis.weights = axis.firsts + axis.count;
    return axis;
}

/* What a block makes, in target pixels of the window and in words of the source. */
struct Tile {
    /* First column and row of the tile in the tensor. */
    word_t x;
    word_t y;
    /* First column and row in the window, and how many. */
    word_t column;
    word_t row;
    word_t columns;
    word_t rows;
    /* First word of a row that is read, and how many, multiples of four; the same of a column, any number. */
    word_t across_first;
    word_t across_words;
    word_t down_first;
    word_t down_words;
};

/* The part of `start .. start + length` of the tensor that a window of `count` from `before` on covers. */
PHASE word_t covered(word_t start, word_t length, word_t before, word_t count, word_t *first) {
    word_t from = start > before ? start : before;
    word_t to = start + length < before + count ? start + length : before + count;
    *first = from - before;
    return to > from ? to - from : 0;
}

PHASE word_t extent(struct Axis axis, word_t from, word_t count) {
    return axis.firsts[from + count - 1] + axis.words - axis.firsts[from];
}

PHASE struct Tile tile_at(struct Job job, struct Shape shape, struct Axis across, struct Axis down, word_t tile_x,
                          word_t tile_y) {
    struct Tile tile;
    tile.x = tile_x * TILE_COLUMNS;
    tile.y = tile_y * shape.tile_rows;
    tile.columns = covered(tile.x, TILE_COLUMNS, job.left, across.count, &tile.column);
    tile.rows = covered(tile.y, shape.tile_rows, job.top, down.count, &tile.row);
    tile.across_first = tile.across_words = tile.down_first = tile.down_words = 0;
    if (tile.columns > 0 && tile.rows > 0) {
        tile.across_first = across.firsts[tile.column] / CHUNK * CHUNK;
        tile.across_words = extent(across, tile.column, tile.columns) + across.firsts[tile.column] - tile.across_first;
        tile.across_words = (tile.across_words + CHUNK - 1) / CHUNK * CHUNK;
        tile.down_first = down.firsts[tile.row];
        tile.down_words = extent(down, tile.row, tile.rows);
    }
    return tile;
}

/* sum + the products of four unsigned bytes. */
PHASE word_t dot_unsigned(word_t bytes, word_t weights, word_t sum) {
#ifdef ON_DEVICE
    asm("dp4a.u32.u32 %0, %1, %2, %0;" : "+r"(sum) : "r"(bytes), "r"(weights));
    return sum;
#else
    for (int i = 0; i < 32; i += 8) sum += (bytes >> i & 255u) * (weights >> i & 255u);
    return sum;
#endif
}

/* sum + the products of four unsigned bytes with signed ones. */
PHASE word_t dot_signed(word_t bytes, word_t weights, word_t sum) {
#ifdef ON_DEVICE
    int signed_sum = (int)sum;
    asm("dp4a.u32.s32 %0, %1, %2, %0;" : "+r"(signed_sum) : "r"(bytes), "r"(weights));
    return (word_t)signed_sum;
#else
    for (int i = 0; i < 32; i += 8) {
        int weight = (int)(weights >> i & 255u);
        weight = weight > 127 ? weight - 256 : weight;
        sum += (word_t)((int)(bytes >> i & 255u) * weight);
    }
    return sum;
#endif
}

/* Bytes of a and b: those numbered 0 to 3 are a's, 4 to 7 b's. */
PHASE word_t permuted(word_t a, word_t b, word_t places) {
#ifdef ON_DEVICE
    return __byte_perm(a, b, places);
#else
    word_t out = 0;
    for (int i = 0; i < 4; i++) {
        word_t place = places >> (4 * i) & 7u;
        out |= ((place < 4 ? a >> (8 * place) : b >> (8 * (place - 4))) & 255u) << (8 * i);
    }
    return out;
#endif
}

PHASE word_t finished(word_t low, word_t middle, word_t high, word_t bits) {
    int sum = (int)(low + (middle << 8) + (high << 16) + (1u << (bits - 1))) >> bits;
    return (word_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

#ifdef ON_DEVICE
typedef uint4 four_t;
#else
typedef struct {
    word_t x, y, z, w;
} four_t;
#endif

/* Sixteen columns of a row as they are in memory. */
struct Piece {
    four_t a, b, c;
};

/* Pieces of the four rows that a warp reads at once. */
PHASE word_t pieces_of(struct Tile tile) {
    return GROUP * (tile.across_words / CHUNK);
}

/* Columns first, phase 1: piece `i` of a group of four rows; zeros beyond the picture. */
PHASE struct Piece read_piece(struct Job job, struct Tile tile, word_t group, word_t i) {
    word_t chunks = tile.across_words / CHUNK, r = i / chunks;
    word_t row = (tile.down_first + group) * GROUP + r, chunk = tile.across_first / CHUNK + i - r * chunks;
    struct Piece piece = {{0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}};
    if (row < job.rows && chunk < job.stride / 48) {
        const four_t *from = (const four_t *)(job.source + (address_t)row * job.stride) + 3 * chunk;
        piece.a = from[0];
        piece.b = from[1];
        piece.c = from[2];
    }
    return piece;
}

/* Phase 2: writes it channel by channel to `buffer`, [row][channel][word of the tile]. */
PHASE void write_piece(struct Tile tile, word_t i, struct Piece piece, word_t *buffer) {
    word_t chunks = tile.across_words / CHUNK, r = i / chunks;
    four_t a = piece.a, b = piece.b, c = piece.c, red, green, blue;
    /* Of three words, R0 G0 B0 R1 | G1 B1 R2 G2 | B2 R3 G3 B3, the four bytes of a channel. */
#define RED(p, q, r) permuted(permuted(p, q, 0x0630u), r, 0x5210u)
#define GREEN(p, q, r) permuted(permuted(p, q, 0x0741u), r, 0x6210u)
#define BLUE(p, q, r) permuted(permuted(p, q, 0x0052u), r, 0x7410u)
    red.x = RED(a.x, a.y, a.z), red.y = RED(a.w, b.x, b.y), red.z = RED(b.z, b.w, c.x), red.w = RED(c.y, c.z, c.w);
    green.x = GREEN(a.x, a.y, a.z), green.y = GREEN(a.w, b.x, b.y);
    green.z = GREEN(b.z, b.w, c.x), green.w = GREEN(c.y, c.z, c.w);
    blue.x = BLUE(a.x, a.y, a.z), blue.y = BLUE(a.w, b.x, b.y);
    blue.z = BLUE(b.z, b.w, c.x), blue.w = BLUE(c.y, c.z, c.w);
    four_t *to = (four_t *)(buffer + r * 3 * tile.across_words) + i - r * chunks;
    to[0] = red;
    to[chunks] = green;
    to[2 * chunks] = blue;
}

/* The sums of four rows of one channel of one column. */
struct Sums {
    word_t low[GROUP];
    word_t middle[GROUP];
    word_t high[GROUP];
};

PHASE void add_word(struct Sums *sums, const word_t *from, word_t row, word_t w0, word_t w1, word_t w2) {
#pragma unroll
    for (word_t r = 0; r < GROUP; r++) {
        word_t bytes = from[r * row];
        sums->low[r] = dot_unsigned(bytes, w0, sums->low[r]);
        sums->middle[r] = dot_unsigned(bytes, w1, sums->middle[r]);
        sums->high[r] = dot_signed(bytes, w2, sums->high[r]);
    }
}

PHASE void write_column(const struct Sums *sums, word_t bits, word_t *to) {
    word_t packed = 0;
#pragma unroll
    for (word_t r = 0; r < GROUP; r++)
        packed |= finished(sums->low[r], sums->middle[r], sums->high[r], bits) << (8 * r);
    *to = packed;
}

/* Phase 3: a lane makes one column of four rows, [channel][group][column] of `between`. Its weights are the same for
 * every group of rows, so those of up to MOST_KEPT words are kept in registers, [word][byte], and before them the place of
 * its first word. */
#define MOST_KEPT 8u
#define KEEPING(WORDS)                                                                                               \
    PHASE void keep_##WORDS(struct Axis across, struct Tile tile, word_t lane, word_t *kept) {                       \
        if (lane >= tile.columns) return;                                                                            \
        kept[0] = across.firsts[tile.column + lane] - tile.across_first;                                             \
        UNROLL_ALL                                                                                                   \
        for (word_t i = 0; i < 3 * (WORDS); i++)                                                                     \
            kept[1 + i] = across.weights[i * across.count + tile.column + lane];                                     \
    }                                                                                                                \
    PHASE void sum_columns_##WORDS(struct Axis across, struct Tile tile, word_t group, word_t lane,                  \
                                   const word_t *kept, const word_t *buffer, word_t *between) {                      \
        if (lane >= tile.columns) return;                                                                            \
        word_t pitch = tile.across_words;                                                                            \
        const word_t *from = buffer + kept[0];                                                                       \
        UNROLL_NOTHING                                                                                               \
        for (word_t c = 0; c < 3; c++) {                                                                             \
            struct Sums sums = {{0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}};                                           \
            UNROLL_ALL                                                                                               \
            for (word_t k = 0; k < (WORDS); k++)                                                                     \
                add_word(&sums, from + c * pitch + k, 3 * pitch, kept[3 * k + 1], kept[3 * k + 2], kept[3 * k + 3]); \
            write_column(&sums, across.bits, between + (c * tile.down_words + group) * TILE_COLUMNS + lane);         \
        }                                                                                                            \
    }

#ifdef ON_DEVICE
#define UNROLL_NOTHING _Pragma("unroll 1")
#define UNROLL_ALL _Pragma("unroll")
#else
#define UNROLL_NOTHING
#define UNROLL_ALL
#endif

KEEPING(1)
KEEPING(2)
KEEPING(3)
KEEPING(4)
KEEPING(5)
KEEPING(6)
KEEPING(7)
KEEPING(8)

/* The same with more words than can be kept. */
PHASE void sum_columns(struct Axis across, struct Tile tile, word_t group, word_t lane, const word_t *buffer,
                       word_t *between) {
    if (lane >= tile.columns) return;
    word_t target = tile.column + lane;
    word_t pitch = tile.across_words;
    const word_t *from = buffer + across.firsts[target] - tile.across_first;
#pragma unroll 1
    for (word_t c = 0; c < 3; c++) {
        const word_t *weights = across.weights + target;
        struct Sums sums = {{0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}};
        for (word_t k = 0; k < across.words; k++) {
            add_word(&sums, from + c * pitch + k, 3 * pitch, weights[0], weights[across.count],
                     weights[2 * across.count]);
            weights += 3 * across.count;
        }
        write_column(&sums, across.bits, between + (c * tile.down_words + group) * TILE_COLUMNS + lane);
    }
}

PHASE void write_value(struct Shape shape, address_t out, word_t image, word_t channel, word_t x, word_t y,
                       word_t value) {
    address_t pixels = (address_t)shape.width * shape.height;
    address_t pixel = (address_t)y * shape.width + x;
    address_t at = shape.channels_last ? ((address_t)image * pixels + pixel) * 3 + channel
                                       : ((address_t)image * 3 + channel) * pixels + pixel;
    if (shape.wide)
        ((word_t *)out)[at] = value;
    else
        ((half_t *)out)[at] = (half_t)value;
}

/* Phase 4: a lane makes one pixel of each row of its warp. */
PHASE void sum_rows(struct Job job, struct Shape shape, struct Axis down, struct Tile tile, word_t warp, word_t lane,
                    const word_t *between, const word_t *values, address_t out) {
    if (lane >= tile.columns) return;
    for (word_t row = warp; row < tile.rows; row += WARPS) {
        word_t target = tile.row + row;
        const word_t *from = between + (down.firsts[target] - tile.down_first) * TILE_COLUMNS + lane;
        const word_t *weights = down.weights + target;
        word_t low[3] = {0, 0, 0}, middle[3] = {0, 0, 0}, high[3] = {0, 0, 0};
        for (word_t k = 0; k < down.words; k++) {
            word_t w0 = weights[0], w1 = weights[down.count], w2 = weights[2 * down.count];
            weights += 3 * down.count;
#pragma unroll
            for (word_t c = 0; c < 3; c++) {
                word_t bytes = from[(c * tile.down_words + k) * TILE_COLUMNS];
                low[c] = dot_unsigned(bytes, w0, low[c]);
                middle[c] = dot_unsigned(bytes, w1, middle[c]);
                high[c] = dot_signed(bytes, w2, high[c]);
            }
        }
        word_t x = job.left + tile.column + lane, y = job.top + target;
#pragma unroll
        for (word_t c = 0; c < 3; c++) {
            word_t level = finished(low[c], middle[c], high[c], down.bits);
            write_value(shape, out, job.image, c, x, y, values[c * 256 + level]);
        }
    }
}

/* Weight of the byte `k` of a target pixel. */
PHASE word_t weight_of(struct Axis axis, word_t target, word_t k) {
    const word_t *weights = axis.weights + (address_t)(k / 4) * 3 * axis.count + target;
    word_t shift = 8 * (k % 4);
    return (weights[0] >> shift & 255u) + ((weights[axis.count] >> shift & 255u) << 8) +
           (weights[2 * axis.count] >> shift << 16 & 0xff0000u) +
           ((weights[2 * axis.count] >> shift & 128u) ? 0xff000000u : 0);
}

/* Rows first, phase 1: every thread makes bytes of `between`, [row of the tile][byte of the columns read]. */
PHASE void sum_rows_first(struct Job job, struct Axis down, struct Tile tile, word_t thread, byte_t *between) {
    word_t first = tile.across_first * 12, length = tile.across_words * 12;
    for (word_t i = thread; i < length * tile.rows; i += LANES * WARPS) {
        word_t target = tile.row + i / length, byte = first + i % length;
        word_t sum = 1u << (down.bits - 1);
        if (byte < job.stride) {
            for (word_t k = 0; k < 4 * down.words; k++) {
                word_t row = 4 * down.firsts[target] + k;
                if (row < job.rows)
                    sum += weight_of(down, target, k) * ((const byte_t *)(job.source + (address_t)row * job.stride))[byte];
            }
        }
        int level = (int)sum >> down.bits;
        between[i] = (byte_t)(level < 0 ? 0 : level > 255 ? 255 : level);
    }
}

/* Rows first, phase 2: every thread makes values. */
PHASE void sum_columns_last(struct Job job, struct Shape shape, struct Axis across, struct Tile tile, word_t thread,
                            const byte_t *between, const word_t *values, address_t out) {
    word_t length = tile.across_words * 12;
    for (word_t i = thread; i < tile.rows * tile.columns; i += LANES * WARPS) {
        word_t row = i / tile.columns, column = i % tile.columns;
        word_t target = tile.column + column;
        const byte_t *from = between + row * length + 12 * (across.firsts[target] - tile.across_first);
        for (word_t c = 0; c < 3; c++) {
            word_t sum = 1u << (across.bits - 1);
            for (word_t k = 0; k < 4 * across.words; k++) sum += weight_of(across, target, k) * from[3 * k + c];
            int level = (int)sum >> across.bits;
            level = level < 0 ? 0 : level > 255 ? 255 : level;
            write_value(shape, out, job.image, c, job.left + target, job.top + tile.row + row,
                        values[c * 256 + (word_t)level]);
        }
    }
}

/* What lies around the window in the tile. */
PHASE void fill_around(struct Job job, struct Shape shape, struct Axis across, struct Axis down, struct Tile tile,
                       word_t thread, const word_t *values, address_t out) {
    if (tile.columns == TILE_COLUMNS && tile.rows == shape.tile_rows) return;
    for (word_t i = thread; i < TILE_COLUMNS * shape.tile_rows; i += LANES * WARPS) {
        word_t x = tile.x + i % TILE_COLUMNS, y = tile.y + i / TILE_COLUMNS;
        if (x >= shape.width || y >= shape.height) continue;
        if (x >= job.left && x - job.left < across.count && y >= job.top && y - job.top < down.count) continue;
        for (word_t c = 0; c < 3; c++)
            write_value(shape, out, job.image, c, x, y, values[c * 256 + shape.fill[c]]);
    }
}

#define FOR_EACH_KEPT(DO) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8)

#ifdef ON_DEVICE

/* What a warp does with every eighth group of rows. (To read the next piece while this one is summed was slower: it
 * takes registers from the other warps.) */
#define EACH_GROUP(SUM)                                                                                              \
    for (word_t group = warp; group < tile.down_words; group += WARPS) {                                             \
        for (word_t i = lane; i < pieces; i += LANES) write_piece(tile, i, read_piece(job, tile, group, i), buffer); \
        __syncwarp();                                                                                                \
        SUM;                                                                                                         \
        __syncwarp();                                                                                                \
    }

#define WARP_KEEPING(WORDS)                                                               \
    case WORDS: {                                                                         \
        word_t kept[3 * WORDS + 1];                                                       \
        keep_##WORDS(across, tile, lane, kept);                                           \
        EACH_GROUP(sum_columns_##WORDS(across, tile, group, lane, kept, buffer, between)) \
        break;                                                                            \
    }

/* `values`: for each channel the bits of the value of each byte. A block for each tile of each image; dynamic shared
 * memory as `Shape::memory` in layout.rs says. */
extern "C" __global__ void __launch_bounds__(LANES *WARPS, 4)
    resize(const struct Job *jobs, const word_t *tables, const word_t *all_values, address_t out, struct Shape shape) {
    extern __shared__ word_t memory[];
    struct Job job = jobs[blockIdx.z];
    struct Axis across = axis_at(tables, job.across), down = axis_at(tables, job.down);
    struct Tile tile = tile_at(job, shape, across, down, blockIdx.x, blockIdx.y);
    word_t thread = threadIdx.x, lane = thread % LANES, warp = thread / LANES;
    word_t *values = memory;
    for (word_t i = thread; i < VALUES; i += LANES * WARPS) values[i] = all_values[i];
    if (job.vertical_first) {
        byte_t *between = (byte_t *)(memory + VALUES);
        sum_rows_first(job, down, tile, thread, between);
        __syncthreads();
        sum_columns_last(job, shape, across, tile, thread, between, values, out);
    } else {
        word_t *between = memory + VALUES;
        word_t *buffer = between + 3 * TILE_COLUMNS * tile.down_words + warp * 3 * GROUP * tile.across_words;
        word_t pieces = pieces_of(tile);
        switch (across.words) {
            FOR_EACH_KEPT(WARP_KEEPING)
        default:
            EACH_GROUP(sum_columns(across, tile, group, lane, buffer, between))
        }
        __syncthreads();
        sum_rows(job, shape, down, tile, warp, lane, between, values, out);
    }
    fill_around(job, shape, across, down, tile, thread, values, out);
}

#else

#define LANE_KEEPING(WORDS)                                                    \
    case WORDS:                                                                \
        keep_##WORDS(across, tile, lane, kept);                                \
        sum_columns_##WORDS(across, tile, group, lane, kept, buffer, between); \
        break;

/* The same, one thread after the other. `memory` is what a block has. */
void resize_on_host(const struct Job *jobs, word_t count, const word_t *tables, const word_t *values, address_t out,
                    const struct Shape *shape_of, word_t *memory) {
    struct Shape shape = *shape_of;
    word_t tiles_x = (shape.width + TILE_COLUMNS - 1) / TILE_COLUMNS;
    word_t tiles_y = (shape.height + shape.tile_rows - 1) / shape.tile_rows;
    for (word_t block = 0; block < count * tiles_x * tiles_y; block++) {
        struct Job job = jobs[block / (tiles_x * tiles_y)];
        struct Axis across = axis_at(tables, job.across), down = axis_at(tables, job.down);
        struct Tile tile = tile_at(job, shape, across, down, block % tiles_x, block / tiles_x % tiles_y);
        if (job.vertical_first) {
            byte_t *between = (byte_t *)(memory + VALUES);
            for (word_t t = 0; t < LANES * WARPS; t++) sum_rows_first(job, down, tile, t, between);
            for (word_t t = 0; t < LANES * WARPS; t++)
                sum_columns_last(job, shape, across, tile, t, between, values, out);
        } else {
            word_t *between = memory + VALUES;
            for (word_t warp = 0; warp < WARPS; warp++) {
                word_t *buffer = between + 3 * TILE_COLUMNS * tile.down_words + warp * 3 * GROUP * tile.across_words;
                for (word_t group = warp; group < tile.down_words; group += WARPS) {
                    for (word_t i = 0; i < pieces_of(tile); i++)
                        write_piece(tile, i, read_piece(job, tile, group, i), buffer);
                    for (word_t lane = 0; lane < LANES; lane++) {
                        word_t kept[3 * MOST_KEPT + 1];
                        switch (across.words) {
                            FOR_EACH_KEPT(LANE_KEEPING)
                        default:
                            sum_columns(across, tile, group, lane, buffer, between);
                        }
                    }
                }
            }
            for (word_t t = 0; t < LANES * WARPS; t++)
                sum_rows(job, shape, down, tile, t / LANES, t % LANES, between, values, out);
        }
        for (word_t t = 0; t < LANES * WARPS; t++) fill_around(job, shape, across, down, tile, t, values, out);
    }
}

#endif
