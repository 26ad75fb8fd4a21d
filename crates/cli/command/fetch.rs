//! `sightline fetch`: a table of URLs to shards.

mod plan;
mod report;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use sightline_core::image_spec::Size;
use sightline_core::progress::Silent;
use sightline_core::registry::UnknownName;
use sightline_dataset::index::{IndexSpec, needed_by};
use sightline_fetch::{
    DedupSpec, FetchSpec, FetchSummary, HashCheck, HashKind, IccMode, IncrementalMode, InputFormat,
    JoinKey, JoinSpec, JoinSummary, Language, Likeness, NetworkSpec, Reencode, RowFilterSpec,
    fetch, shard_names,
};
use sightline_imaging::reshape::{ReshapeSpec, ResizeMode};
use sightline_imaging::resize::opencv::Interpolation;
use sightline_imaging::{DecodeOptions, EncodeSpec, Limits, Scale};

use crate::args::ImageFormatArg;
use crate::command::exits;
use crate::exit::{Exit, Failure};
use crate::monitor::{Monitor, MonitorArgs, ProgressMode};
use crate::output::print_either;
use crate::signal::Stop;
use crate::stores::{scratch, shown, stores};

/// Different messages of a status that are printed; the rest is in the status tables.
const MESSAGES_SHOWN: usize = 10;
/// Keys of rows without a match that are printed.
const KEYS_SHOWN: usize = 5;

/// Arguments of `sightline fetch`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct FetchArgs {
    #[command(subcommand)]
    command: Option<FetchCommand>,

    #[command(flatten)]
    request: Option<RequestArgs>,
}

/// Many machines: a plan, any number of workers, and the end.
#[derive(Debug, Subcommand)]
enum FetchCommand {
    /// Cut a table into shards once and write the plan into the output folder
    Plan(Box<RequestArgs>),
    /// Make shards of a plan, on as many machines as there are
    Work(plan::WorkArgs),
    /// How far the workers of a plan are
    Status(plan::PlanArgs),
    /// Check that every shard of a plan is there, and write the index of the dataset
    Finish(plan::PlanArgs),
    /// Write a page about a folder of shards: failures, hosts, sizes, times, and some of the images
    Report(report::ReportArgs),
}

/// What to fetch, and how.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
#[derive(Debug, Args)]
struct RequestArgs {
    /// Table of URLs: a txt, csv, tsv, jsonl, json or parquet file, also with .gz, or a folder or pattern of them. It may be
    /// at s3://, gs://, az:// or http(s):// (docs/object-stores.md)
    url_list: PathBuf,

    /// Folder for the shards, also at s3://, gs:// or az://; a run that was cut short continues in it
    #[arg(long, visible_alias = "output-folder", value_name = "DIR")]
    out: PathBuf,

    /// Format of the table, when its name does not tell
    #[arg(long, value_enum, help_heading = "Table")]
    input_format: Option<InputFormatArg>,

    /// Column of the URLs
    #[arg(
        long,
        default_value = "url",
        value_name = "COLUMN",
        help_heading = "Table"
    )]
    url_col: String,

    /// Column of the captions; without it shards hold none
    #[arg(long, value_name = "COLUMN", help_heading = "Table")]
    caption_col: Option<String>,

    /// Further columns to keep in the metadata
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "COLUMN,…",
        help_heading = "Table"
    )]
    save_additional_columns: Vec<String>,

    /// Another table, in any format and place, whose columns are added to the rows, such as what an earlier step knows of
    /// them; rows that it does not have get nulls and are counted
    #[arg(long, value_name = "FILE", help_heading = "Table")]
    join: Option<PathBuf>,

    /// What rows have in common with those of --join: url, the key of the row in the output (key; for tables of the same rows
    /// in shards of the same size), or a column
    #[arg(
        long,
        default_value = "url",
        value_name = "WHAT",
        help_heading = "Table"
    )]
    join_on: String,

    /// Column of --join that has the same; by default the one that is called like WHAT
    #[arg(long, value_name = "COLUMN", requires = "join", help_heading = "Table")]
    join_key: Option<String>,

    /// Columns of --join to keep in the metadata
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "COLUMN,…",
        requires = "join",
        help_heading = "Table"
    )]
    join_columns: Vec<String>,

    /// Column of --join that holds the captions
    #[arg(
        long,
        value_name = "COLUMN",
        requires = "join",
        conflicts_with = "caption_col",
        help_heading = "Table"
    )]
    join_caption_col: Option<String>,

    /// Shard format
    #[arg(
        long,
        default_value = "webdataset",
        value_name = "NAME",
        help_heading = "Output"
    )]
    output_format: String,

    /// Rows of a shard
    #[arg(
        long,
        default_value_t = 10_000,
        value_name = "N",
        help_heading = "Output"
    )]
    number_sample_per_shard: u64,

    /// Digits of a shard's number, at least, in its name and its samples' keys
    #[arg(
        long,
        default_value_t = 5,
        value_name = "DIGITS",
        help_heading = "Output"
    )]
    oom_shard_count: usize,

    /// What to do when DIR has shards already
    #[arg(
        long,
        value_enum,
        default_value = "incremental",
        help_heading = "Output"
    )]
    incremental_mode: IncrementalModeArg,

    /// Do not record the EXIF of the downloaded files
    #[arg(long, help_heading = "Output")]
    no_extract_exif: bool,

    /// Digest of the downloaded bytes to record
    #[arg(long, value_enum, default_value = "sha256", help_heading = "Output")]
    compute_hash: HashArg,

    /// Refuse bodies that do not have the digest in COLUMN, of kind md5, sha256 or sha512; empty cells are not checked
    #[arg(long, value_name = "COLUMN=KIND", help_heading = "Output", value_parser = parse_hash_check)]
    verify_hash: Option<HashCheck>,

    /// Do not ask for rows whose caption has fewer characters
    #[arg(long, value_name = "N", help_heading = "Rows")]
    min_caption_length: Option<usize>,

    /// Do not ask for rows whose caption has more characters
    #[arg(long, value_name = "N", help_heading = "Rows")]
    max_caption_length: Option<usize>,

    /// Ask only for rows whose caption matches somewhere
    #[arg(long, value_name = "PATTERN", help_heading = "Rows")]
    caption_regex: Option<String>,

    /// Do not ask for rows whose caption is surely in another language than these: codes of ISO 639 such as en,de
    #[arg(long, value_delimiter = ',', value_name = "CODE,…", help_heading = "Rows", value_parser = parse_language)]
    languages: Vec<Language>,

    /// Ask for each URL once, for the first row that has it
    #[arg(long, help_heading = "Rows")]
    dedup_urls: bool,

    /// Do not ask for URLs whose images are in the shards of this earlier output; may be given several times
    #[arg(long, value_name = "DIR", help_heading = "Rows")]
    skip_urls_of: Vec<PathBuf>,

    /// Store what is equal once, for the first row that has it: by URL, by the bytes that came, or by how the picture looks
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "BY,…",
        help_heading = "Rows"
    )]
    dedup: Vec<DedupArg>,

    /// Bits, of 64, in which the perceptual hashes of one picture may differ
    #[arg(long, default_value_t = DedupSpec::default().max_distance, value_name = "BITS", help_heading = "Rows")]
    dedup_distance: u32,

    /// Do not store images that are in the shards of this earlier output, by their bytes and, with --dedup perceptual, by
    /// their looks; may be given several times
    #[arg(long, value_name = "DIR", help_heading = "Rows")]
    skip_content_of: Vec<PathBuf>,

    /// Side length to resize to, in pixels
    #[arg(
        long,
        default_value_t = 256,
        value_name = "PIXELS",
        help_heading = "Images"
    )]
    image_size: u32,

    /// How images are brought to that size
    #[arg(long, value_enum, default_value = "border", help_heading = "Images")]
    resize_mode: ResizeModeArg,

    /// Leave smaller images as they are
    #[arg(long, help_heading = "Images")]
    resize_only_if_bigger: bool,

    /// Interpolation when enlarging
    #[arg(long, value_enum, default_value = "lanczos", help_heading = "Images")]
    upscale_interpolation: InterpolationArg,

    /// Interpolation when shrinking
    #[arg(long, value_enum, default_value = "area", help_heading = "Images")]
    downscale_interpolation: InterpolationArg,

    /// Format in which images are stored
    #[arg(long, value_enum, default_value = "jpg", help_heading = "Images")]
    encode_format: ImageFormatArg,

    /// Quality of JPEG and WebP, 1 to 100, and 101 for WebP without loss; of PNG the compression, 0 to 9, where more is a fast one
    #[arg(long, default_value_t = 95, value_name = "QUALITY", help_heading = "Images",
          value_parser = clap::value_parser!(u8).range(0..=101))]
    encode_quality: u8,

    /// What becomes of colour profiles
    #[arg(
        long,
        value_enum,
        default_value = "drop",
        value_name = "WHAT",
        help_heading = "Images"
    )]
    icc: IccArg,

    /// Store files of the format as they are where nothing is done to their pixels
    #[arg(long, help_heading = "Images")]
    skip_reencode: bool,

    /// Store every file as it is, under the extension of the format; nothing is decoded
    #[arg(long, conflicts_with = "skip_reencode", help_heading = "Images")]
    disable_all_reencoding: bool,

    /// Blur the boxes in COLUMN, a list of [x0, y0, x1, y1] as shares of width and height, for example faces
    #[arg(long, value_name = "COLUMN", help_heading = "Images")]
    bbox_col: Option<String>,

    /// Refuse images whose shorter side is less
    #[arg(
        long,
        default_value_t = 0,
        value_name = "PIXELS",
        help_heading = "Images"
    )]
    min_image_size: u32,

    /// Refuse images of more pixels
    #[arg(long, default_value_t = f64::INFINITY, value_name = "PIXELS", help_heading = "Images")]
    max_image_area: f64,

    /// Refuse images with a larger ratio of longer to shorter side
    #[arg(long, default_value_t = f64::INFINITY, value_name = "RATIO", help_heading = "Images")]
    max_aspect_ratio: f64,

    /// How JPEG files are decoded
    #[arg(long, value_enum, default_value = "exact", help_heading = "Images")]
    decode: DecodeArg,

    /// Decode nothing that declares more pixels
    #[arg(long, default_value_t = Limits::default().max_pixels, value_name = "PIXELS",
          help_heading = "Images")]
    max_pixels: u64,

    /// Store pixels as the file has them, ignoring the EXIF orientation, like img2dataset
    #[arg(long, help_heading = "Images")]
    ignore_orientation: bool,

    /// Requests at the same time; by default as many as bring most, which is found while the run goes on
    #[arg(long, value_name = "N", help_heading = "Network")]
    thread_count: Option<usize>,

    /// Requests at the same time to one host
    #[arg(long, default_value_t = 32, value_name = "N", help_heading = "Network")]
    per_host_connections: usize,

    /// Seconds for a whole request, body included
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS", help_heading = "Network",
          value_parser = parse_seconds)]
    timeout: f64,

    /// How often to try again after network errors and statuses 429 and 5xx
    #[arg(long, default_value_t = 0, value_name = "N", help_heading = "Network")]
    retries: u32,

    /// Largest body
    #[arg(
        long,
        default_value_t = 50_000_000,
        value_name = "BYTES",
        help_heading = "Network"
    )]
    max_body_bytes: u64,

    /// Redirects that are followed
    #[arg(long, default_value_t = 5, value_name = "N", help_heading = "Network")]
    max_redirects: usize,

    /// Name under which X-Robots-Tag headers may address this run; part of the user agent
    #[arg(long, value_name = "TOKEN", help_heading = "Network")]
    user_agent_token: Option<String>,

    /// X-Robots-Tag directives that forbid the use of an image; an empty text for none
    #[arg(long, value_delimiter = ',', value_name = "DIRECTIVE,…", help_heading = "Network",
          default_values_t = NetworkSpec::default().disallowed_header_directives)]
    disallowed_header_directives: Vec<String>,

    /// Obey robots.txt, its Crawl-delay included; each host is asked once in a run
    #[arg(long, help_heading = "Network")]
    obey_robots_txt: bool,

    /// Give up bodies that come more slowly than this over five seconds
    #[arg(long, default_value_t = NetworkSpec::default().min_bytes_per_s, value_name = "BYTES",
          help_heading = "Network")]
    min_bytes_per_second: u64,

    /// After this many failures to answer in a row, leave a host alone for half a minute; 0 for never
    #[arg(long, default_value_t = NetworkSpec::default().max_host_failures, value_name = "N",
          help_heading = "Network")]
    max_host_failures: u32,

    /// Accept any certificate, also of servers that only pretend to be who they are
    #[arg(long, visible_alias = "ignore-ssl", help_heading = "Network")]
    accept_invalid_certificates: bool,

    /// Fetch also from loopback, private and other addresses that are not public: for servers of your own
    #[arg(long, help_heading = "Network")]
    allow_private_addresses: bool,

    /// Memory for images under way, in MiB; by default 96, and 16 more for each image thread
    #[arg(long, value_name = "MIB", help_heading = "Machine")]
    memory_budget: Option<u64>,

    /// Memory for the columns of --join and 40 bytes for each of its rows, in MiB; a larger table is refused
    #[arg(long, default_value_t = JoinSpec::MEMORY_BYTES >> 20, value_name = "MIB", help_heading = "Machine")]
    join_memory: u64,

    /// Threads that decode, resize and encode; all cores by default
    #[arg(long, value_name = "N", help_heading = "Machine")]
    image_threads: Option<usize>,

    // Not flattened: clap knows whether these arguments were given at all only by their own fields.
    /// How to show how far the work has come
    #[arg(
        long,
        value_enum,
        default_value = "bar",
        value_name = "HOW",
        help_heading = "Progress"
    )]
    progress: ProgressMode,

    /// Serve the counts for Prometheus at http://127.0.0.1:PORT/metrics while the work lasts; 0 for any free port
    #[arg(long, value_name = "PORT", help_heading = "Progress")]
    metrics_port: Option<u16>,

    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum InputFormatArg {
    Txt,
    Csv,
    Tsv,
    Jsonl,
    Json,
    Parquet,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum IncrementalModeArg {
    /// Keep finished shards and make the others
    Incremental,
    /// Remove all shards and start over
    Overwrite,
    /// Number the shards of this table after the existing ones
    Extend,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DecodeArg {
    /// All pixels, then the resize, as img2dataset does
    Exact,
    /// Large photos at a half, a quarter or an eighth, as long as no side is shorter than the size; other pixels, sooner
    Fast,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DedupArg {
    /// The same as --dedup-urls; nothing is downloaded
    Url,
    /// The digest of --compute-hash
    Content,
    /// A perceptual hash of the picture before it is resized, within --dedup-distance
    Perceptual,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum IccArg {
    /// Pixels as the file has them and no profile, as img2dataset does
    Drop,
    /// Pixels with a profile are brought to sRGB; of CMYK files the profile is dropped
    Srgb,
    /// Pixels as the file has them, and its profile in the new file
    Keep,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum HashArg {
    Md5,
    Sha256,
    Sha512,
    None,
}

impl HashArg {
    fn kind(self) -> Option<HashKind> {
        match self {
            Self::Md5 => Some(HashKind::Md5),
            Self::Sha256 => Some(HashKind::Sha256),
            Self::Sha512 => Some(HashKind::Sha512),
            Self::None => None,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum ResizeModeArg {
    /// Keep the size
    No,
    /// Longer side to the size, padded with white to a square
    Border,
    /// Shorter side to the size
    KeepRatio,
    /// Longer side to the size
    KeepRatioLargest,
    /// Shorter side to the size, centre cut out as a square
    CenterCrop,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum InterpolationArg {
    Nearest,
    #[value(alias = "bilinear")]
    Linear,
    Area,
    #[value(alias = "bicubic")]
    Cubic,
    #[value(alias = "lanczos4")]
    Lanczos,
}

impl RequestArgs {
    fn monitor(&self) -> MonitorArgs {
        MonitorArgs {
            progress: self.progress,
            metrics_port: self.metrics_port,
        }
    }

    fn spec(&self) -> FetchSpec {
        let mut spec = FetchSpec::new(&self.url_list, &self.out);
        spec.input_format = self.input_format.map(|format| match format {
            InputFormatArg::Txt => InputFormat::Txt,
            InputFormatArg::Csv => InputFormat::Csv,
            InputFormatArg::Tsv => InputFormat::Tsv,
            InputFormatArg::Jsonl => InputFormat::Jsonl,
            InputFormatArg::Json => InputFormat::Json,
            InputFormatArg::Parquet => InputFormat::Parquet,
        });
        spec.url_col.clone_from(&self.url_col);
        spec.caption_col.clone_from(&self.caption_col);
        spec.save_additional_columns
            .clone_from(&self.save_additional_columns);
        spec.join = self.join.as_ref().map(|path| JoinSpec {
            column: self.join_key.clone(),
            columns: self.join_columns.clone(),
            caption: self.join_caption_col.clone(),
            memory_bytes: self.join_memory.saturating_mul(1 << 20),
            ..JoinSpec::new(path, self.join_on())
        });
        spec.output_format.clone_from(&self.output_format);
        spec.number_sample_per_shard = self.number_sample_per_shard;
        spec.oom_shard_count = self.oom_shard_count;
        spec.incremental_mode = match self.incremental_mode {
            IncrementalModeArg::Incremental => IncrementalMode::Incremental,
            IncrementalModeArg::Overwrite => IncrementalMode::Overwrite,
            IncrementalModeArg::Extend => IncrementalMode::Extend,
        };
        spec.filter = RowFilterSpec {
            min_caption_length: self.min_caption_length,
            max_caption_length: self.max_caption_length,
            caption_regex: self.caption_regex.clone(),
            languages: self.languages.clone(),
            dedup_urls: self.dedup_urls || self.dedup.contains(&DedupArg::Url),
            skip_urls_of: self.skip_urls_of.clone(),
            ..RowFilterSpec::default()
        };
        spec.dedup = self.dedup();
        spec.extract_exif = !self.no_extract_exif;
        spec.compute_hash = self.compute_hash.kind();
        spec.verify_hash.clone_from(&self.verify_hash);
        spec.bbox_col.clone_from(&self.bbox_col);
        spec.reencode = if self.disable_all_reencoding {
            Reencode::Never
        } else if self.skip_reencode {
            Reencode::WhenChanged
        } else {
            Reencode::Always
        };
        spec.decode = DecodeOptions {
            orient: !self.ignore_orientation,
            scale: self.scale(),
            coarse: matches!(self.decode, DecodeArg::Fast),
            ..DecodeOptions::sane()
        }
        .with_limits(Limits {
            max_pixels: self.max_pixels,
            ..Limits::default()
        });
        spec.icc = match self.icc {
            IccArg::Drop => IccMode::Drop,
            IccArg::Srgb => IccMode::Srgb,
            IccArg::Keep => IccMode::Keep,
        };
        spec.image = self.reshape();
        spec.encode = EncodeSpec {
            format: self.encode_format.into(),
            quality: self.encode_quality,
        };
        spec.network = self.network();
        spec.memory_budget_bytes = self.memory_budget.map(|mib| mib.saturating_mul(1 << 20));
        spec.threads = self.image_threads;
        spec.stores = stores();
        spec.scratch = Some(scratch());
        spec
    }

    fn join_on(&self) -> JoinKey {
        match self.join_on.as_str() {
            "url" => JoinKey::Url,
            "key" => JoinKey::Key,
            column => JoinKey::Column(column.to_owned()),
        }
    }

    fn dedup(&self) -> DedupSpec {
        let likeness = |by: &DedupArg| match by {
            DedupArg::Url => None,
            DedupArg::Content => Some(Likeness::Content),
            DedupArg::Perceptual => Some(Likeness::Perceptual),
        };
        DedupSpec {
            by: self.dedup.iter().filter_map(likeness).collect(),
            max_distance: self.dedup_distance,
            skip_content_of: self.skip_content_of.clone(),
            ..DedupSpec::default()
        }
    }

    fn network(&self) -> NetworkSpec {
        NetworkSpec {
            timeout: Duration::from_secs_f64(self.timeout),
            retries: self.retries,
            concurrency: self.thread_count,
            per_host_concurrency: self.per_host_connections,
            max_body_bytes: self.max_body_bytes,
            max_redirects: self.max_redirects,
            user_agent_token: self.user_agent_token.clone(),
            disallowed_header_directives: self
                .disallowed_header_directives
                .iter()
                .filter(|directive| !directive.is_empty())
                .cloned()
                .collect(),
            obey_robots_txt: self.obey_robots_txt,
            min_bytes_per_s: self.min_bytes_per_second,
            max_host_failures: self.max_host_failures,
            accept_invalid_certificates: self.accept_invalid_certificates,
            allow_private_addresses: self.allow_private_addresses,
        }
    }

    fn scale(&self) -> Scale {
        match (self.decode, self.resize_mode) {
            (DecodeArg::Exact, _) | (_, ResizeModeArg::No) => Scale::Full,
            (DecodeArg::Fast, _) => Scale::AtLeast(Size::square(self.image_size)),
        }
    }

    fn reshape(&self) -> ReshapeSpec {
        let interpolation = |argument| match argument {
            InterpolationArg::Nearest => Interpolation::Nearest,
            InterpolationArg::Linear => Interpolation::Linear,
            InterpolationArg::Area => Interpolation::Area,
            InterpolationArg::Cubic => Interpolation::Cubic,
            InterpolationArg::Lanczos => Interpolation::Lanczos4,
        };
        ReshapeSpec {
            image_size: self.image_size,
            mode: match self.resize_mode {
                ResizeModeArg::No => ResizeMode::No,
                ResizeModeArg::Border => ResizeMode::Border,
                ResizeModeArg::KeepRatio => ResizeMode::KeepRatio,
                ResizeModeArg::KeepRatioLargest => ResizeMode::KeepRatioLargest,
                ResizeModeArg::CenterCrop => ResizeMode::CenterCrop,
            },
            only_if_bigger: self.resize_only_if_bigger,
            upscale: interpolation(self.upscale_interpolation),
            downscale: interpolation(self.downscale_interpolation),
            min_image_size: self.min_image_size,
            max_image_area: self.max_image_area,
            max_aspect_ratio: self.max_aspect_ratio,
            ..ReshapeSpec::default()
        }
    }
}

pub(crate) fn run(args: &FetchArgs) -> Result<Exit, Failure> {
    use_small_pages();
    match (&args.command, &args.request) {
        (Some(FetchCommand::Plan(request)), _) => plan::make_plan(request),
        (Some(FetchCommand::Work(args)), _) => plan::make_shards(args),
        (Some(FetchCommand::Status(args)), _) => plan::show_state(args),
        (Some(FetchCommand::Finish(args)), _) => plan::finish_plan(args),
        (Some(FetchCommand::Report(args)), _) => report::write_report(args),
        (None, Some(request)) => {
            let doing = format!("fetching `{}`", shown(&request.url_list));
            let stop = Stop::listen()?;
            let monitor = Monitor::new(request.monitor())?;
            let spec = request.spec();
            let summary = fetch(&spec, &monitor, &stop.flag().into()).map_err(failure(&doing))?;
            if !summary.interrupted {
                let names = shard_names(&spec).map_err(failure(&doing))?;
                write_index(&spec, &names, &doing)?;
            }
            end(&summary, request.json, &stop)
        }
        (None, None) => Ok(Exit::Usage),
    }
}

/// Bodies and pixels live for milliseconds and are of every size: in pages of 2 MiB they take twice the memory, and the
/// time in which the system clears it.
fn use_small_pages() {
    #[cfg(target_os = "linux")]
    // Where it is refused more memory is taken, and nothing else.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

fn failure(doing: &str) -> impl Fn(sightline_fetch::Error) -> Failure {
    move |error| Failure::new(exits::fetch(&error), doing.to_owned(), &error)
}

/// Writes the list of shards without which other programs do not read a folder of this format, where it has one. It is gone
/// as soon as a shard is made, so one that is there is right.
fn write_index(spec: &FetchSpec, names: &[String], doing: &str) -> Result<(), Failure> {
    let mut formats = sightline_shard::FORMATS.iter();
    let format = formats.find(|format| format.name() == spec.output_format);
    let Some(index) = format.and_then(|format| needed_by(*format)) else {
        return Ok(());
    };
    let failed = |error: sightline_dataset::Error| {
        Failure::new(exits::dataset(&error), doing.to_owned(), &error)
    };
    let unopened = |error| Failure::new(exits::store(&error), doing.to_owned(), &error);
    let folder = spec.stores.folder(&spec.out).map_err(unopened)?;
    if folder.entry(index.file()).map_err(unopened)?.is_some() {
        return Ok(());
    }
    index
        .write(&folder, names, &IndexSpec::default(), &Silent)
        .map_err(failed)?;
    Ok(())
}

/// Prints what a run did.
fn end(summary: &FetchSummary, json: bool, stop: &Stop) -> Result<Exit, Failure> {
    print_either(json, summary, || text(summary))?;
    Ok(if summary.interrupted {
        stop.exit()
    } else {
        Exit::Done
    })
}

fn parse_hash_check(text: &str) -> Result<HashCheck, String> {
    // The last sign parts them: a column may be called anything, and is often called like the kind.
    let (column, kind) = text.rsplit_once('=').unwrap_or((text, text));
    let kind = HashArg::from_str(kind, false).ok().and_then(HashArg::kind);
    let kind = kind.ok_or("expected COLUMN=KIND with a KIND of md5, sha256 or sha512")?;
    Ok(HashCheck {
        column: column.to_owned(),
        kind,
    })
}

fn parse_language(code: &str) -> Result<Language, UnknownName> {
    Language::named(code.trim())
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if seconds > 0.0 && seconds <= 86_400.0 => Ok(seconds),
        _ => Err("expected seconds, more than 0 and at most 86400".to_owned()),
    }
}

/// What became of the rows, a line for each frequent reason.
fn rows(summary: &FetchSummary) -> String {
    let mut text = format!(
        "{} rows: {} in shards, {} failed to download, {} failed to resize\n",
        summary.rows, summary.successes, summary.failed_to_download, summary.failed_to_resize
    );
    if summary.duplicates > 0 {
        let _ = writeln!(text, "  {} images were there already", summary.duplicates);
    }
    if let Some(join) = &summary.join {
        text.push_str(&joined(join));
    }
    for (status, messages) in &summary.failures {
        let mut messages: Vec<(&String, &u64)> = messages.iter().collect();
        messages.sort_by_key(|(message, n)| (std::cmp::Reverse(**n), *message));
        for (message, n) in messages.iter().take(MESSAGES_SHOWN) {
            let _ = writeln!(text, "  {n} {}: {message}", status.as_str());
        }
        if messages.len() > MESSAGES_SHOWN {
            let rest = messages.len() - MESSAGES_SHOWN;
            let _ = writeln!(text, "  and {rest} other messages; see the status tables");
        }
    }
    text
}

/// Which rows the joined table did not have, and which of its own it had twice.
fn joined(join: &JoinSummary) -> String {
    let mut text = format!("  {} rows are not in the joined table", join.unmatched);
    let keys = join.unmatched_keys.iter().take(KEYS_SHOWN);
    let keys: Vec<&str> = keys.map(String::as_str).collect();
    if !keys.is_empty() {
        let is_all = keys.len() as u64 == join.unmatched;
        let _ = write!(
            text,
            ": {}{}",
            keys.join(", "),
            if is_all { "" } else { ", …" }
        );
    }
    text.push('\n');
    if let Some(repeated) = join.table_rows_repeated.filter(|rows| *rows > 0) {
        let rows = join.table_rows.unwrap_or_default();
        let _ = writeln!(
            text,
            "  {repeated} of the {rows} rows of the joined table have a key that an earlier one has, and are not used"
        );
    }
    text
}

fn text(summary: &FetchSummary) -> String {
    let mut text = rows(summary);
    if summary.shards_elsewhere > 0 {
        let _ = writeln!(
            text,
            "{} shards are made by other workers",
            summary.shards_elsewhere
        );
    }
    let _ = write!(
        text,
        "{} shards made, {} finished before; {} bytes received in {:.1} s, {:.0} images/s",
        summary.shards_done,
        summary.shards_skipped,
        summary.bytes_downloaded,
        summary.wall_seconds,
        summary.images_per_second
    );
    if summary.interrupted {
        text.push_str("\ninterrupted: run the same command again to go on");
    }
    text
}
