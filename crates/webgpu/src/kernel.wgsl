// Resize, crop and table look-up of a batch of images, in three passes over every image of the batch at once.
//
// `first` sums along one axis from bytes into `between`, `second` along the other into `resized`, `values` looks up what
// the bytes stand for. Pixels in `between` and `resized` are `r | g << 8 | b << 16`. Sums are of 32-bit integers that
// wrap, as on the CPU, and shifts of them keep the sign: the bytes are those of the CPU. Layouts equal `pack.rs`.

struct Job {
    // First byte of the pixels in `source`; 1 channel or 3; pixels in a row.
    source: u32,
    channels: u32,
    width: u32,
    // Rows are summed before columns.
    vertical_first: u32,
    // Where the three words of each target column and row are in `taps`, and the fractional bits of their weights.
    across: u32,
    across_bits: u32,
    down: u32,
    down_bits: u32,
    // First pixel of what `first` makes, and its size.
    between: u32,
    between_width: u32,
    between_height: u32,
    // First pixel of what `second` makes, its size, and its place in the tensor.
    resized: u32,
    resized_width: u32,
    resized_height: u32,
    left: u32,
    top: u32,
    // The first workgroup of `first` and of `second` that works for this image.
    groups: array<u32, 2>,
}

struct Batch {
    count: u32,
    // Size of the tensors, pixels in one.
    width: u32,
    height: u32,
    pixels: u32,
    // The channel is the innermost axis.
    channels_last: u32,
    // Values have 16 bits.
    halves: u32,
    // RGB around the images, as a pixel.
    fill: u32,
    // Values in all tensors together.
    values: u32,
    jobs: array<Job>,
}

@group(0) @binding(0) var<storage, read> batch: Batch;
@group(0) @binding(1) var<storage, read> taps: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<u32>;
@group(0) @binding(3) var<storage, read> source: array<u32>;
@group(0) @binding(4) var<storage, read_write> between: array<u32>;
@group(0) @binding(5) var<storage, read_write> resized: array<u32>;
@group(0) @binding(6) var<storage, read_write> tensors: array<u32>;

const GROUP: u32 = 64u;

// Groups in the order of their images; a dimension cannot count them all.
fn group_of(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}

// The image that a workgroup of `first` (0) or `second` (1) works for: the last that starts with it or before it.
fn job_of(group: u32, stage: u32) -> u32 {
    var job = 0u;
    var end = batch.count;
    while end - job > 1u {
        let middle = (job + end) / 2u;
        if batch.jobs[middle].groups[stage] <= group {
            job = middle;
        } else {
            end = middle;
        }
    }
    return job;
}

// Weighted sum of the pixels at `start`, `start + step`, … of an image of bytes.
fn sum_source(job: u32, span: u32, start: u32, step: u32, bits: u32) -> u32 {
    let base = batch.jobs[job].source;
    let channels = batch.jobs[job].channels;
    let count = taps[span + 1u];
    let weights = taps[span + 2u];
    var sum = vec3<i32>(1i << (bits - 1u));
    for (var k = 0u; k < count; k++) {
        let byte = base + (start + k * step) * channels;
        let shift = (byte & 3u) * 8u;
        var word = source[byte >> 2u] >> shift;
        var pixel: vec3<u32>;
        if channels == 1u {
            pixel = vec3<u32>(word & 255u);
        } else {
            if shift > 8u {
                word |= source[(byte >> 2u) + 1u] << (32u - shift);
            }
            pixel = unpack(word);
        }
        sum += vec3<i32>(pixel) * bitcast<i32>(taps[weights + k]);
    }
    return rounded(sum, bits);
}

// The same of what the first pass has made.
fn sum_between(job: u32, span: u32, start: u32, step: u32, bits: u32) -> u32 {
    let base = batch.jobs[job].between + start;
    let count = taps[span + 1u];
    let weights = taps[span + 2u];
    var sum = vec3<i32>(1i << (bits - 1u));
    for (var k = 0u; k < count; k++) {
        let pixel = unpack(between[base + k * step]);
        sum += vec3<i32>(pixel) * bitcast<i32>(taps[weights + k]);
    }
    return rounded(sum, bits);
}

fn unpack(pixel: u32) -> vec3<u32> {
    return vec3<u32>(pixel & 255u, (pixel >> 8u) & 255u, (pixel >> 16u) & 255u);
}

fn rounded(sum: vec3<i32>, bits: u32) -> u32 {
    let pixel = vec3<u32>(clamp(sum >> vec3<u32>(bits), vec3<i32>(0), vec3<i32>(255)));
    return pixel.x | (pixel.y << 8u) | (pixel.z << 16u);
}

@compute @workgroup_size(64)
fn first(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = group_of(group, groups);
    let job = job_of(at, 0u);
    let index = (at - batch.jobs[job].groups[0]) * GROUP + local;
    let width = batch.jobs[job].between_width;
    if index >= width * batch.jobs[job].between_height {
        return;
    }
    let x = index % width;
    let y = index / width;
    let stride = batch.jobs[job].width;
    var pixel: u32;
    if batch.jobs[job].vertical_first != 0u {
        let span = batch.jobs[job].down + 3u * y;
        pixel = sum_source(job, span, taps[span] * stride + x, stride, batch.jobs[job].down_bits);
    } else {
        let span = batch.jobs[job].across + 3u * x;
        pixel = sum_source(job, span, y * stride + taps[span], 1u, batch.jobs[job].across_bits);
    }
    between[batch.jobs[job].between + index] = pixel;
}

@compute @workgroup_size(64)
fn second(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = group_of(group, groups);
    let job = job_of(at, 1u);
    let index = (at - batch.jobs[job].groups[1]) * GROUP + local;
    let width = batch.jobs[job].resized_width;
    if index >= width * batch.jobs[job].resized_height {
        return;
    }
    let x = index % width;
    let y = index / width;
    let stride = batch.jobs[job].between_width;
    var pixel: u32;
    if batch.jobs[job].vertical_first != 0u {
        let span = batch.jobs[job].across + 3u * x;
        pixel = sum_between(job, span, y * stride + taps[span], 1u, batch.jobs[job].across_bits);
    } else {
        let span = batch.jobs[job].down + 3u * y;
        pixel = sum_between(job, span, taps[span] * stride + x, stride, batch.jobs[job].down_bits);
    }
    resized[batch.jobs[job].resized + index] = pixel;
}

// The bits of a value, counted through all tensors.
fn value(index: u32) -> u32 {
    let job = index / (3u * batch.pixels);
    let within = index % (3u * batch.pixels);
    var channel = within / batch.pixels;
    var pixel = within % batch.pixels;
    if batch.channels_last != 0u {
        channel = within % 3u;
        pixel = within / 3u;
    }
    // What lies before the image wraps to beyond its end.
    let x = pixel % batch.width - batch.jobs[job].left;
    let y = pixel / batch.width - batch.jobs[job].top;
    let width = batch.jobs[job].resized_width;
    var colour = batch.fill;
    if x < width && y < batch.jobs[job].resized_height {
        colour = resized[batch.jobs[job].resized + y * width + x];
    }
    return table[channel * 256u + ((colour >> (8u * channel)) & 255u)];
}

@compute @workgroup_size(64)
fn values(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    // One 32-bit word of the tensors: two values of 16 bits may belong to different rows, channels or images.
    let word = group_of(group, groups) * GROUP + local;
    if batch.halves == 0u {
        if word < batch.values {
            tensors[word] = value(word);
        }
        return;
    }
    let index = 2u * word;
    if index >= batch.values {
        return;
    }
    var bits = value(index);
    if index + 1u < batch.values {
        bits |= value(index + 1u) << 16u;
    }
    tensors[word] = bits;
}
