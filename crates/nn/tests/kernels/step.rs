//! `step.cu`.

use half::{bf16, f16};

use super::element::{Element, Elements, Numbers};
use super::library::{Grid, Kernels, STEP};

type Embed<T> = unsafe extern "C" fn(
    tokens: *const T,
    places: *const T,
    ids: *const u32,
    positions: *const u32,
    out: *mut T,
    width: u32,
    offset: u32,
);
type LookBack<T> = unsafe extern "C" fn(
    all: *const T,
    seen: *mut T,
    count: *const u32,
    first: *const u32,
    positions: *const u32,
    slopes: *const f32,
    frequencies: *const f32,
    out: *mut T,
    room: u32,
    head_dim: u32,
    turned: u32,
    are_neighbours: i32,
    in_chunks: i32,
    scale: f32,
);
type MoveRows<T> = unsafe extern "C" fn(
    from: *const T,
    to: *mut T,
    parents: *const u32,
    count: *const u32,
    room: u32,
    width: u32,
    is_back: i32,
);
type Widen<T> = unsafe extern "C" fn(x: *const T, out: *mut f32, count: usize);
type CountOn = unsafe extern "C" fn(positions: *mut u32, count: *mut u32, rows: u32);
type Best = unsafe extern "C" fn(x: *const f32, out: *mut u32, width: u32, wanted: u32);

const ROWS: usize = 3;
const HEADS: usize = 2;
const ROOM: usize = 330;

fn grid(blocks: [usize; 3], threads: usize, seed: usize) -> Grid {
    Grid {
        blocks,
        threads,
        backwards: seed % 2 == 1,
    }
}

fn random<T: Element>(count: usize, numbers: &mut Numbers) -> Elements<T> {
    let values: Vec<f64> = (0..count).map(|_| numbers.normal()).collect();
    Elements::new(values.into_iter(), 0)
}

fn check_embed<T: Element>(kernels: &Kernels) {
    // SAFETY: the function of that name has this type.
    let kernel: Embed<T> = unsafe { kernels.function(&format!("embed_{}", T::NAME)) };
    for (seed, width) in [1, 33, 300].into_iter().enumerate() {
        let numbers = &mut Numbers::new(seed);
        let (tokens, places) = (
            random::<T>(7 * width, numbers),
            random::<T>(9 * width, numbers),
        );
        let (ids, positions, offset) = ([6u32, 0, 3], [4u32, 6, 0], 2u32);
        for has_places in [false, true] {
            let mut out = Elements::<T>::poison(ROWS * width, 0);
            let to = out.as_mut().as_mut_ptr();
            let table = if has_places {
                places.address(0)
            } else {
                std::ptr::null()
            };
            // SAFETY: the sizes are those of the elements.
            kernels.launch(grid([ROWS, 1, 1], 64, seed), &|| unsafe {
                let (ids, positions) = (ids.as_ptr(), positions.as_ptr());
                kernel(
                    tokens.address(0),
                    table,
                    ids,
                    positions,
                    to,
                    width as u32,
                    offset,
                );
            });
            out.assert_written_inside_only("embed");
            let (tokens, places) = (tokens.wide(), places.wide());
            for (i, &found) in out.as_ref().iter().enumerate() {
                let (row, at) = (i / width, i % width);
                let place = places[(positions[row] + offset) as usize * width + at];
                let token = tokens[ids[row] as usize * width + at];
                let exact = token + if has_places { place } else { 0.0 };
                let near = (found.wide() - exact).abs() <= T::ROUNDING * exact.abs() + T::TINY;
                assert!(near, "{} {} for {exact}", T::NAME, found.wide());
            }
        }
    }
}

/// How positions are told.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    Nowhere,
    Slopes,
    Halves,
    Neighbours,
}

/// What the kernel is called for.
#[derive(Clone, Copy, Debug)]
struct Look {
    head_dim: usize,
    count: usize,
    told: Told,
}

/// A head's vector turned by angles, as `rotary.rs` does it, in the type of the tensors.
fn turned<T: Element>(x: &[f64], position: u32, frequencies: &[f32], told: Told) -> Vec<f64> {
    let half = frequencies.len();
    let mut turned = x.to_vec();
    for (i, &frequency) in frequencies.iter().enumerate() {
        let (a, b) = match told {
            Told::Neighbours => (2 * i, 2 * i + 1),
            _ => (i, i + half),
        };
        let angle = f64::from(position as f32 * frequency);
        turned[a] = x[a] * angle.cos() - x[b] * angle.sin();
        turned[b] = x[b] * angle.cos() + x[a] * angle.sin();
    }
    turned.into_iter().map(|x| T::of(x).wide()).collect()
}

#[expect(
    clippy::too_many_lines,
    reason = "the kernel's arguments, and beside them the formula of each thing that it writes"
)]
fn check_look_back<T: Element>(kernels: &Kernels, look: Look, seed: usize) {
    // SAFETY: the function of that name has this type.
    let kernel: LookBack<T> = unsafe { kernels.function(&format!("look_back_{}", T::NAME)) };
    let Look {
        head_dim,
        count,
        told,
    } = look;
    let numbers = &mut Numbers::new(seed);
    let inner = HEADS * head_dim;
    let step = 2 * inner;
    let all = random::<T>(ROWS * 3 * inner, numbers);
    // The first row is not padded, the last one is new.
    let first = [0, (count / 3) as u32, count as u32];
    let positions = first.map(|first| count as u32 - first);
    let mut seen = random::<T>(ROWS * ROOM * step, numbers);
    for (at, element) in seen.as_mut().iter_mut().enumerate() {
        let (row, place) = (at / step / ROOM, at / step % ROOM);
        if place < first[row] as usize || place >= count {
            *element = T::POISON;
        }
    }
    let before = seen.wide();
    let slopes = [0.25f32, 0.0625];
    let half = (head_dim / 2).min(8);
    let frequencies: Vec<f32> = (0..half).map(|i| 0.3f32.powi(i as i32)).collect();
    let is_turned = matches!(told, Told::Halves | Told::Neighbours);
    let of_slopes = if told == Told::Slopes {
        slopes.as_ptr()
    } else {
        std::ptr::null()
    };
    let (of_frequencies, dims) = if is_turned {
        (frequencies.as_ptr(), 2 * half)
    } else {
        (std::ptr::null(), 0)
    };
    let scale = 1.0 / (head_dim as f32).sqrt();
    let in_chunks = i32::from(head_dim % (16 / size_of::<T>()) == 0);
    let counted = count as u32;
    let mut out = Elements::<T>::poison(ROWS * inner, 0);
    let (to, memory) = (out.as_mut().as_mut_ptr(), seen.as_mut().as_mut_ptr());
    // SAFETY: the sizes are those of the elements.
    kernels.launch(grid([HEADS, ROWS, 1], 256, seed), &|| unsafe {
        kernel(
            all.address(0),
            memory,
            &raw const counted,
            first.as_ptr(),
            positions.as_ptr(),
            of_slopes,
            of_frequencies,
            to,
            ROOM as u32,
            head_dim as u32,
            dims as u32,
            i32::from(told == Told::Neighbours),
            in_chunks,
            scale,
        );
    });
    out.assert_written_inside_only(&format!("{look:?}"));
    let (all, seen, out) = (all.wide(), seen.as_ref(), out.wide());
    for row in 0..ROWS {
        for head in 0..HEADS {
            let own = |part: usize| {
                let start = (row * 3 + part) * inner + head * head_dim;
                &all[start..][..head_dim]
            };
            let turn = |x: &[f64]| {
                if is_turned {
                    turned::<T>(x, positions[row], &frequencies, told)
                } else {
                    x.to_vec()
                }
            };
            let (query, key, value) = (turn(own(0)), turn(own(1)), own(2));
            let at = |place: usize| (row * ROOM + place) * step + head * head_dim;
            // What is new was written behind what was there.
            for d in 0..head_dim {
                let (found_key, found_value) = (
                    seen[at(count) + d].wide(),
                    seen[at(count) + inner + d].wide(),
                );
                let error = (found_key - key[d]).abs();
                assert!(error <= 2.0 * T::ROUNDING * key[d].abs() + 1e-6, "{look:?}");
                assert!(found_value == value[d], "{look:?}");
            }
            let places = first[row] as usize..count + 1;
            let vectors = |place: usize| {
                if place == count {
                    return (key.as_slice(), value);
                }
                let at = at(place);
                (&before[at..][..head_dim], &before[at + inner..][..head_dim])
            };
            let score = |place: usize| {
                let dot: f64 = query.iter().zip(vectors(place).0).map(|(a, b)| a * b).sum();
                let slope = match told {
                    Told::Slopes => f64::from(slopes[head]),
                    _ => 0.0,
                };
                (dot * f64::from(scale) - slope * (count - place) as f64).exp()
            };
            let weights: Vec<f64> = places.clone().map(score).collect();
            let total: f64 = weights.iter().sum();
            for d in 0..head_dim {
                let values = places.clone().map(|place| vectors(place).1[d]);
                let exact: f64 = values.zip(&weights).map(|(v, w)| v * w / total).sum();
                let found = out[row * inner + head * head_dim + d];
                // A query that rounds to its other neighbour changes shares by as much.
                let slack = if is_turned { 4.0 * T::ROUNDING } else { 0.0 };
                let bound = T::ROUNDING * exact.abs() + T::TINY + 1e-5 + slack;
                assert!(
                    (found - exact).abs() <= bound,
                    "{} {look:?}: {found} for {exact}",
                    T::NAME
                );
            }
        }
    }
    // Nothing else was touched.
    for (at, element) in seen.iter().enumerate() {
        let (row, place) = (at / step / ROOM, at / step % ROOM);
        if place > count || place < (first[row] as usize).min(count) {
            assert!(element.is_poison(), "{look:?} at {place}");
        } else if place < count {
            assert!(element.wide() == before[at], "{look:?} at {place}");
        }
    }
}

fn check_looks<T: Element>(kernels: &Kernels) {
    let mut seed = 0;
    for head_dim in [3, 16, 33, 64, 80, 128] {
        for count in [0, 5, 31, 32, 300] {
            for told in [Told::Nowhere, Told::Slopes, Told::Halves, Told::Neighbours] {
                let look = Look {
                    head_dim,
                    count,
                    told,
                };
                check_look_back::<T>(kernels, look, seed);
                seed += 1;
            }
        }
    }
}

fn check_moves<T: Element>(kernels: &Kernels) {
    // SAFETY: the functions of these names have these types.
    let (kernel, widen): (MoveRows<T>, Widen<T>) = unsafe {
        (
            kernels.function(&format!("move_rows_{}", T::NAME)),
            kernels.function(&format!("widen_{}", T::NAME)),
        )
    };
    let (layers, rows, room, width, count) = (2, 4, 7, 5, 3u32);
    for parents in [[0u32, 1, 2, 3], [1, 0, 0, 3], [3, 3, 3, 3], [1, 2, 3, 0]] {
        let numbers = &mut Numbers::new(parents[0] as usize);
        let mut seen = random::<T>(layers * rows * room * width, numbers);
        let before = seen.wide();
        let mut spare = Elements::<T>::poison(before.len(), 0);
        let (at, aside) = (seen.as_mut().as_mut_ptr(), spare.as_mut().as_mut_ptr());
        for (from, to, is_back) in [(at, aside, 0), (aside, at, 1)] {
            // SAFETY: the sizes are those of the elements.
            kernels.launch(grid([2, rows, layers], 32, is_back), &|| unsafe {
                let (room, width) = (room as u32, width as u32);
                let count = &raw const count;
                kernel(
                    from,
                    to,
                    parents.as_ptr(),
                    count,
                    room,
                    width,
                    is_back as i32,
                );
            });
        }
        let after = seen.wide();
        for (i, &found) in after.iter().enumerate() {
            let (layer, row) = (i / (rows * room * width), i / (room * width) % rows);
            let within = i % (room * width);
            let from = (layer * rows + parents[row] as usize) * room * width + within;
            let is_used = within < count as usize * width;
            let exact = before[if is_used { from } else { i }];
            assert!(found == exact, "{parents:?} at {i}");
        }
        let mut out = Elements::<f32>::poison(after.len(), 0);
        let to = out.as_mut().as_mut_ptr();
        // SAFETY: the sizes are those of the elements.
        kernels.launch(grid([2, 1, 1], 32, 0), &|| unsafe {
            widen(seen.address(0), to, after.len());
        });
        assert!(out.wide() == after);
    }
}

fn check_each(check: impl Fn(&Kernels)) {
    if let Some(kernels) = STEP.as_ref() {
        check(kernels);
    }
}

#[test]
fn a_token_and_its_place_are_looked_up() {
    check_each(|kernels| {
        check_embed::<f32>(kernels);
        check_embed::<f16>(kernels);
        check_embed::<bf16>(kernels);
    });
}

#[test]
fn a_new_position_looks_back_and_is_kept() {
    check_each(|kernels| {
        check_looks::<f32>(kernels);
        check_looks::<f16>(kernels);
        check_looks::<bf16>(kernels);
    });
}

#[test]
fn rows_move_as_far_as_they_are_used() {
    check_each(|kernels| {
        check_moves::<f32>(kernels);
        check_moves::<f16>(kernels);
        check_moves::<bf16>(kernels);
    });
}

#[test]
fn positions_are_counted() {
    check_each(|kernels| {
        // SAFETY: the function of that name has this type.
        let kernel: CountOn = unsafe { kernels.function("count_on") };
        let (mut positions, mut count) = ((0..70).collect::<Vec<u32>>(), 4u32);
        let (at, counted) = (positions.as_mut_ptr(), &raw mut count);
        // SAFETY: there are so many positions.
        kernels.launch(grid([1, 1, 1], 32, 0), &|| unsafe {
            kernel(at, counted, 69);
        });
        let mut exact: Vec<u32> = (1..71).collect();
        exact[69] = 69;
        assert_eq!((positions, count), (exact, 5));
    });
}

#[test]
fn the_best_of_a_row_are_found_in_their_order() {
    check_each(|kernels| {
        // SAFETY: the function of that name has this type.
        let kernel: Best = unsafe { kernels.function("best") };
        for (seed, (width, wanted)) in [(1, 1), (5, 5), (700, 3), (2000, 12)]
            .into_iter()
            .enumerate()
        {
            let numbers = &mut Numbers::new(seed);
            // Few values, so that many are equal; a row of infinities, and one with a NaN.
            let value = |row: usize, i: usize, x: f64| match row {
                0 => (x * 4.0).round(),
                1 => x * 10.0,
                2 if i.is_multiple_of(3) => f64::NEG_INFINITY,
                3 if i == width / 2 => f64::NAN,
                _ => x,
            };
            let rows = 4;
            let mut values = Vec::new();
            for row in 0..rows {
                values.extend((0..width).map(|i| value(row, i, numbers.normal())));
            }
            let x = Elements::<f32>::new(values.into_iter(), 0);
            let mut out = vec![u32::MAX; 2 * rows * wanted];
            let to = out.as_mut_ptr();
            // SAFETY: the sizes are those of the elements.
            kernels.launch(grid([rows, 1, 1], 512, seed), &|| unsafe {
                kernel(x.address(0), to, width as u32, wanted as u32);
            });
            let (indices, values) = out.split_at(rows * wanted);
            let values = values.iter().map(|&bits| f64::from(f32::from_bits(bits)));
            let found: Vec<(u32, f64)> = indices.iter().copied().zip(values).collect();
            for (row, (x, found)) in x.wide().chunks(width).zip(found.chunks(wanted)).enumerate() {
                let has_nan = x.iter().any(|x| x.is_nan()) || x.iter().all(|x| x.is_infinite());
                let total: f64 = x.iter().map(|x| x.exp()).sum::<f64>().ln();
                let mut order: Vec<usize> = (0..width).collect();
                if !has_nan {
                    order.sort_by(|&a, &b| x[b].total_cmp(&x[a]));
                }
                for (&(index, value), &exact) in found.iter().zip(&order) {
                    assert_eq!(index as usize, exact, "row {row} of {width}");
                    let log = x[exact] - total;
                    let near = (value - log).abs() <= 1e-5 * (1.0 + log.abs());
                    let same = value == log || (has_nan && value.is_nan());
                    assert!(near || same, "{value} for {log}");
                }
            }
        }
    });
}
