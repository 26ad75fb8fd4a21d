//! The machine and the moment of a run, for its record.

use std::fs;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use sightline_report::record::Machine;

/// Most bytes of the system's description of its processors that are looked at.
const MAX_CPUINFO_BYTES: usize = 1 << 16;

/// This machine, and the device that the model runs on.
pub(crate) fn machine(device: &str) -> Machine {
    let cpuinfo = fs::read("/proc/cpuinfo").unwrap_or_default();
    let cpuinfo = String::from_utf8_lossy(&cpuinfo[..cpuinfo.len().min(MAX_CPUINFO_BYTES)]);
    Machine {
        platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
        processor: processor(&cpuinfo),
        threads: thread::available_parallelism().map_or(1, usize::from),
        device: device.to_owned(),
    }
}

/// Now, as RFC 3339 in UTC, to the second.
pub fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    rfc_3339(since.map_or(0, |since| since.as_secs()))
}

/// The first `model name` in Linux's list of processors.
fn processor(cpuinfo: &str) -> Option<String> {
    cpuinfo.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let value = value.trim();
        (name.trim() == "model name" && !value.is_empty()).then(|| value.to_owned())
    })
}

/// Seconds since 1970 as a date and time of the Gregorian calendar.
fn rfc_3339(seconds: u64) -> String {
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Counted in years that begin in March, so that the day that leap years add comes last.
    // 719,468 days lie between 0000-03-01 and 1970-01-01; 146,097 are a cycle of 400 years.
    let days = days + 719_468;
    let (cycle, day_of_cycle) = (days / 146_097, days % 146_097);
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524
        - day_of_cycle / 146_096)
        / 365;
    let day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = cycle * 400 + year_of_cycle + next_year;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (1_795_453_451, "2026-11-23T17:04:11Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc_3339(seconds), date);
        }
        assert_eq!(now().len(), 20);
    }

    #[test]
    fn the_processor_is_named_where_the_system_does() {
        let text = "processor\t: 0\nmodel name\t: Example CPU @ 2.20GHz\nmodel name\t: other\n";
        assert_eq!(processor(text).as_deref(), Some("Example CPU @ 2.20GHz"));
        assert_eq!(processor("model name :  \nFeatures: fp"), None);
        let machine = machine("cpu");
        assert!(machine.threads > 0 && machine.platform.contains('-'));
    }
}
