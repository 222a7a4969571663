//! What a process and the machine spend, as Linux tells it under `/proc`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::Error;

/// How often the kernel's clock for processor time ticks. Linux fixes it at 100 per second for what it shows to programs.
const TICK: Duration = Duration::from_millis(10);

/// What a process has spent since it began, and what it holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessUsage {
    /// Processor time in user and kernel mode, all threads.
    pub cpu: Duration,
    /// Resident memory now, bytes.
    pub rss_bytes: u64,
    /// The most resident memory it ever had, bytes.
    pub rss_peak_bytes: u64,
    /// How many threads it has.
    pub threads: u64,
}

/// What the whole machine has spent since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MachineUsage {
    /// Processor time spent in programs and in the kernel on their behalf; interrupts are left out.
    pub busy: Duration,
    /// Processor time that the hypervisor gave to others.
    pub stolen: Duration,
}

/// What a process spends. Fails if there is no such process.
pub fn usage(pid: u32) -> Result<ProcessUsage, Error> {
    let stat = read(format!("/proc/{pid}/stat"))?;
    let status = read(format!("/proc/{pid}/status"))?;
    parse_usage(&stat, &status).ok_or_else(|| Error::Server(format!("/proc/{pid} cannot be understood")))
}

/// Processor time of this process itself.
pub fn own_cpu() -> Result<Duration, Error> {
    usage(std::process::id()).map(|usage| usage.cpu)
}

/// What the machine spends.
pub fn machine() -> Result<MachineUsage, Error> {
    let stat = read("/proc/stat".into())?;
    parse_machine(&stat).ok_or_else(|| Error::Server("/proc/stat cannot be understood".into()))
}

/// How many processes were ready to run over the last minute, on average.
pub fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// The type of the file system that holds a path ("ext4", "tmpfs").
pub fn filesystem(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    filesystem_in(&fs::read_to_string("/proc/mounts").ok()?, &path)
}

fn read(path: String) -> Result<String, Error> {
    fs::read_to_string(&path).map_err(Error::io(format!("read {path}")))
}

fn parse_usage(stat: &str, status: &str) -> Option<ProcessUsage> {
    // The second field is the program's name in parentheses, and may itself hold blanks and parentheses.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(11);
    let ticks = times.next()?.parse::<u32>().ok()? + times.next()?.parse::<u32>().ok()?;
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    let kib = |name: &str| field(name).map(|kib: u64| kib * 1024);
    Some(ProcessUsage {
        cpu: TICK * ticks,
        // A process that is about to end has no memory any more.
        rss_bytes: kib("VmRSS:").unwrap_or(0),
        rss_peak_bytes: kib("VmHWM:").unwrap_or(0),
        threads: field("Threads:")?,
    })
}

fn parse_machine(stat: &str) -> Option<MachineUsage> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<f64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
    let time = |index: usize| ticks.get(index).map(|ticks| TICK.mul_f64(*ticks));
    let [user, nice, system] = [time(0)?, time(1)?, time(2)?];
    Some(MachineUsage { busy: user + nice + system, stolen: time(7).unwrap_or_default() })
}

fn filesystem_in(mounts: &str, path: &Path) -> Option<String> {
    let mount = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        let (at, kind) = (fields.next()?, fields.next()?);
        path.starts_with(at).then(|| (at.len(), kind.to_owned()))
    };
    // The last of several mounts on one place is the one that is seen.
    mounts.lines().filter_map(mount).max_by_key(|(len, _)| *len).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_whose_name_is_odd() {
        let stat = "12 (a) b (c) S 1 2 3 0 -1 0 10 20 30 40 150 50 0 0 20 0 7 0 1 2 3";
        let status = "Name:\ta\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t7\n";
        let usage = parse_usage(stat, status).unwrap();
        assert_eq!(usage.cpu, Duration::from_secs(2));
        assert_eq!((usage.rss_bytes, usage.rss_peak_bytes, usage.threads), (1 << 20, 2 << 20, 7));
    }

    #[test]
    fn the_machine() {
        let stat = "cpu  100 10 50 9999 5 6 7 20 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        let expected = MachineUsage { busy: Duration::from_millis(1_600), stolen: Duration::from_millis(200) };
        assert_eq!(parse_machine(stat), Some(expected));
    }

    #[test]
    fn this_process_uses_memory_and_has_a_thread() {
        let usage = usage(std::process::id()).unwrap();
        assert!(usage.rss_bytes > 0 && usage.rss_peak_bytes >= usage.rss_bytes && usage.threads >= 1, "{usage:?}");
        assert!(machine().unwrap().busy > Duration::ZERO);
    }

    #[test]
    fn a_process_that_is_none() {
        assert!(usage(u32::MAX).is_err());
    }

    #[test]
    fn the_longest_mount_wins() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\nx /tmpdata xfs rw 0 0\n";
        let of = |path: &str| filesystem_in(mounts, Path::new(path)).unwrap();
        assert_eq!([of("/home"), of("/tmp/x"), of("/tmpdata/y")], ["ext4", "tmpfs", "xfs"]);
    }
}
