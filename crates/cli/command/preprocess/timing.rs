//! How long preparing takes, without reading and writing files.

use std::num::NonZeroUsize;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::engine::{Engine, PrintedGpu};
use crate::command::inputs::Inputs;
use crate::exit::{Exit, Failure};

/// Images that are in work or wait for their turn, for each thread.
const IN_FLIGHT: usize = 4;

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct Timed {
    schema: u32,
    images: usize,
    threads: usize,
    mode: &'static str,
    /// The GPU and what it did, if the device is one.
    gpu: Option<PrintedGpu>,
    passes: Vec<Pass>,
    stages: Stages,
    /// Most memory that the process has had so far, where the system says so.
    peak_bytes: Option<u64>,
}

/// All images once.
#[derive(Debug, Serialize)]
struct Pass {
    wall_s: f64,
    cpu_s: f64,
}

/// Seconds in all passes on all threads of the CPU.
#[derive(Debug, Serialize)]
struct Stages {
    #[serde(rename = "decode_s")]
    decode: f64,
    #[serde(rename = "resize_s")]
    resize: f64,
    #[serde(rename = "normalise_s")]
    normalise: f64,
}

impl Timed {
    /// Prepares all images `repeat` times from memory, on `threads` threads.
    pub(super) fn measure(
        engine: &mut Engine,
        inputs: Inputs,
        repeat: usize,
        threads: NonZeroUsize,
    ) -> Result<Self, Failure> {
        let mut images = Vec::new();
        for input in inputs {
            images.push(input?.bytes);
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.get())
            .build()
            .map_err(|e| Failure::io("starting threads", &std::io::Error::other(e)))?;
        let before = engine.preprocessor().timings();
        let mut passes = Vec::with_capacity(repeat);
        for _ in 0..repeat {
            let (wall, cpu) = (Instant::now(), cpu_seconds());
            let mut broken = None;
            pool.install(|| {
                engine.prepare_stream::<f32, _>(&images, threads, |values| {
                    broken = broken.take().or(values.err());
                })
            })?;
            if let Some(error) = broken {
                return Err(Failure::new(Exit::No, "preparing the images", &error));
            }
            passes.push(Pass {
                wall_s: wall.elapsed().as_secs_f64(),
                cpu_s: cpu_seconds() - cpu,
            });
        }
        let stages = engine.preprocessor().timings() - before;
        Ok(Self {
            schema: 1,
            images: images.len(),
            threads: threads.get(),
            mode: engine.preprocessor().mode().name(),
            gpu: engine.printed(),
            passes,
            stages: Stages {
                decode: stages.decode.as_secs_f64(),
                resize: stages.resize.as_secs_f64(),
                normalise: stages.normalise.as_secs_f64(),
            },
            peak_bytes: peak_bytes(),
        })
    }

    /// For people: the median pass and the share of each stage.
    pub(super) fn text(&self) -> String {
        let mut walls: Vec<f64> = self.passes.iter().map(|pass| pass.wall_s).collect();
        walls.sort_by(f64::total_cmp);
        let median = walls.get(walls.len() / 2).copied().unwrap_or(f64::NAN);
        let Stages {
            decode,
            resize,
            normalise,
        } = self.stages;
        let share = |stage: f64| 100.0 * stage / (decode + resize + normalise);
        let rate = format!(
            "{} images, {} threads, {} mode: {:.1} images/s (median of {} passes)",
            self.images,
            self.threads,
            self.mode,
            self.images as f64 / median,
            walls.len(),
        );
        if let Some(gpu) = &self.gpu {
            let remarks = gpu.remarks();
            let lines = std::iter::once(format!("{rate} on {gpu}")).chain(remarks);
            return lines.collect::<Vec<_>>().join("\n");
        }
        format!(
            "{rate}\ndecode {:.1} %, resize {:.1} %, normalise {:.1} %",
            share(decode),
            share(resize),
            share(normalise)
        )
    }
}

/// How many images may be in memory at once.
pub(super) fn in_flight(threads: NonZeroUsize) -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(IN_FLIGHT * threads.get())
}

/// Processor time of this process.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(1024 * kilobytes)
}
