//! The resource usage of a process and of the whole machine, read from Linux's `/proc`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::Error;

/// The unit of processor times in `/proc`: a tick of 1/100 s (USER_HZ).
const TICK: Duration = Duration::from_millis(10);

/// The resource usage of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessUsage {
    /// The processor time of all threads of the process since it started, in user and kernel mode.
    pub cpu: Duration,
    /// The resident memory of the process, in bytes.
    pub rss_bytes: u64,
    /// The peak of the resident memory since the process started, in bytes.
    pub rss_peak_bytes: u64,
    /// The number of threads of the process.
    pub threads: u64,
}

/// The processor time of the whole machine since it booted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MachineUsage {
    /// The time in programs, and in the kernel on their behalf. The time in interrupts is not included.
    pub busy: Duration,
    /// The time during which the hypervisor ran other virtual machines instead of this one.
    pub stolen: Duration,
}

/// Reads the resource usage of a process. Returns an error if there is no such process.
pub fn usage(pid: u32) -> Result<ProcessUsage, Error> {
    let stat = read(format!("/proc/{pid}/stat"))?;
    let status = read(format!("/proc/{pid}/status"))?;
    parse_usage(&stat, &status).ok_or_else(|| Error::Server(format!("/proc/{pid}: unknown format")))
}

/// Reads the resource usage of several processes together, such as the nodes of a cluster. Returns `None` without a
/// process, and an error if one of them does not exist.
pub fn total_usage(pids: &[u32]) -> Result<Option<ProcessUsage>, Error> {
    let mut total: Option<ProcessUsage> = None;
    for pid in pids {
        let (sum, usage) = (total.unwrap_or_default(), usage(*pid)?);
        total = Some(ProcessUsage {
            cpu: sum.cpu + usage.cpu,
            rss_bytes: sum.rss_bytes + usage.rss_bytes,
            rss_peak_bytes: sum.rss_peak_bytes + usage.rss_peak_bytes,
            threads: sum.threads + usage.threads,
        });
    }
    Ok(total)
}

/// Reads the processor time of the current process.
pub fn own_cpu() -> Result<Duration, Error> {
    usage(std::process::id()).map(|usage| usage.cpu)
}

/// Reads the processor time of the whole machine.
pub fn machine() -> Result<MachineUsage, Error> {
    let stat = read("/proc/stat".into())?;
    parse_machine(&stat).ok_or_else(|| Error::Server("/proc/stat: unknown format".into()))
}

/// Reads the load average of the last minute: the mean number of processes that were running or ready to run. `None` if
/// it cannot be read.
pub fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// Returns the type of the file system that contains `path`, for example "ext4" or "tmpfs". `None` if it cannot be
/// determined.
pub fn filesystem(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    filesystem_in(&fs::read_to_string("/proc/mounts").ok()?, &path)
}

fn read(path: String) -> Result<String, Error> {
    fs::read_to_string(&path).map_err(Error::io(format!("read {path}")))
}

fn parse_usage(stat: &str, status: &str) -> Option<ProcessUsage> {
    // The second field is the name of the program in parentheses. The name may contain blanks and parentheses. The
    // fields 14 and 15 are utime and stime (https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html).
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(11);
    let ticks = times.next()?.parse::<u32>().ok()? + times.next()?.parse::<u32>().ok()?;
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    let kib = |name: &str| field(name).map(|kib: u64| kib * 1024);
    Some(ProcessUsage {
        cpu: TICK * ticks,
        // The following two lines are missing in `/proc` for a process that is about to end.
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
    // The file system of a path is that with the longest mount point. If several are mounted on the same directory, the
    // last one is visible.
    mounts.lines().filter_map(mount).max_by_key(|(len, _)| *len).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_whose_name_contains_parentheses() {
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
    fn the_usage_of_two_processes_is_added() {
        let me = std::process::id();
        let each = usage(me).unwrap();
        let both = total_usage(&[me, me]).unwrap().unwrap();
        assert!(both.rss_peak_bytes >= 2 * each.rss_peak_bytes && both.cpu >= 2 * each.cpu, "{both:?} {each:?}");
        assert_eq!(total_usage(&[]).unwrap(), None);
    }

    #[test]
    fn a_process_that_does_not_exist() {
        assert!(usage(u32::MAX).is_err());
        assert!(total_usage(&[std::process::id(), u32::MAX]).is_err());
    }

    #[test]
    fn the_longest_mount_wins() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\nx /tmpdata xfs rw 0 0\n";
        let of = |path: &str| filesystem_in(mounts, Path::new(path)).unwrap();
        assert_eq!([of("/home"), of("/tmp/x"), of("/tmpdata/y")], ["ext4", "tmpfs", "xfs"]);
    }
}
