//! `sightline shards view`.

use std::process::{Command, Stdio};

use clap::Args;
use sightline_dataset::view::{View, bind};

use super::ShardsArgs;
use super::locate::{Located, locate};
use crate::exit::{Exit, Failure};
use crate::output::{note, print};
use crate::signal::Stop;

/// Arguments of `sightline shards view`.
#[derive(Debug, Args)]
pub(crate) struct ViewArgs {
    #[command(flatten)]
    shards: ShardsArgs,

    /// Port on the loopback address; 0 stands for any that is free
    #[arg(long, value_name = "N", default_value_t = 0)]
    port: u16,

    /// Open the page in the browser
    #[arg(long)]
    open: bool,
}

pub(super) fn run(args: &ViewArgs) -> Result<Exit, Failure> {
    let Located { folder, names } = locate(&args.shards)?;
    let stop = Stop::listen()?;
    let doing = || format!("listening on port {} of the loopback address", args.port);
    let failed = |error| Failure::io(doing(), &error);
    let listener = bind(args.port).map_err(failed)?;
    let address = format!("http://{}/", listener.local_addr().map_err(failed)?);
    print(&address)?;
    note("Ctrl-C ends it.");
    if args.open && !open(&address) {
        note("no browser could be started; open the address by hand");
    }
    let title = folder.root().file_name().map_or_else(
        || args.shards.shards.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    );
    View::new(title, folder, names)
        .serve(&listener, &stop.flag())
        .map_err(failed)?;
    // To be ended is all that it waits for.
    Ok(Exit::Done)
}

/// Starts the browser that the system has for such addresses.
fn open(address: &str) -> bool {
    let program = if cfg!(target_os = "macos") {
        "open"
    } else if cfg!(windows) {
        "explorer"
    } else {
        "xdg-open"
    };
    Command::new(program)
        .arg(address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .is_ok()
}
