//! What the system says of this process, under the names that Prometheus' clients have for it.

use crate::metrics::catalogue;
use crate::metrics::families::Families;

/// Tells them, as far as the system does.
pub(crate) fn tell(families: &mut Families) {
    let Some(numbers) = ProcessNumbers::read() else { return };
    families.family(&catalogue::PROCESS_CPU).seconds(&[], numbers.cpu_seconds);
    families.family(&catalogue::PROCESS_START).gauge(&[], numbers.started);
    families.family(&catalogue::PROCESS_RESIDENT).gauge(&[], numbers.resident_bytes);
    families.family(&catalogue::PROCESS_VIRTUAL).gauge(&[], numbers.virtual_bytes);
    families.family(&catalogue::PROCESS_THREADS).gauge(&[], numbers.threads);
    let mut descriptors = |metric, count: Option<f64>| {
        if let Some(count) = count {
            families.family(metric).gauge(&[], count);
        }
    };
    descriptors(&catalogue::PROCESS_OPEN_FDS, numbers.open_descriptors);
    descriptors(&catalogue::PROCESS_MAX_FDS, numbers.max_descriptors);
}

/// What `/proc` says.
#[derive(Debug)]
struct ProcessNumbers {
    cpu_seconds: f64,
    /// Seconds since 1970.
    started: f64,
    resident_bytes: f64,
    virtual_bytes: f64,
    threads: f64,
    open_descriptors: Option<f64>,
    max_descriptors: Option<f64>,
}

/// Ticks of the clock that `/proc` counts in a second. Linux has it so for all programs, whatever its own
/// clock does.
const TICKS: f64 = 100.0;

impl ProcessNumbers {
    /// `None` where there is no `/proc`.
    fn read() -> Option<Self> {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{name}")).ok();
        let stat = read("self/stat")?;
        // Behind the program's name, which may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| -> Option<f64> { fields.get(number - 3)?.parse().ok() };
        let status = read("self/status")?;
        let of_status = |name: &str| -> Option<f64> {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            value.split_whitespace().next()?.parse().ok()
        };
        let boot = read("stat")?;
        let boot: f64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        let limits = read("self/limits");
        let max = limits.as_deref().and_then(|limits| {
            let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
            line.split_whitespace().next()?.parse().ok()
        });
        let open = std::fs::read_dir("/proc/self/fd").ok();
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / TICKS,
            started: boot + field(22)? / TICKS,
            resident_bytes: of_status("VmRSS")? * 1024.0,
            virtual_bytes: of_status("VmSize")? * 1024.0,
            threads: field(20)?,
            // One of them is that of the look itself.
            open_descriptors: open
                .map(|open| open.count().saturating_sub(1))
                .and_then(|open| Some(f64::from(u32::try_from(open).ok()?))),
            max_descriptors: max,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn numbers_are_those_of_this_process() {
        let before = ProcessNumbers::read().unwrap();
        let files: Vec<_> = (0..10).map(|_| std::fs::File::open("/proc/self/stat").unwrap()).collect();
        let block = vec![1u8; 64 << 20];
        let begin = std::time::Instant::now();
        let mut sum = 0u64;
        while ProcessNumbers::read().unwrap().cpu_seconds < before.cpu_seconds + 0.05 {
            sum = block.iter().fold(sum, |sum, byte| sum.wrapping_add(u64::from(*byte)));
            assert!(begin.elapsed().as_secs() < 60, "no processor time is counted ({sum})");
        }
        let after = ProcessNumbers::read().unwrap();
        assert!(after.resident_bytes >= 64.0 * 1048576.0 && after.virtual_bytes >= after.resident_bytes);
        assert!(after.open_descriptors.unwrap() >= 10.0, "{after:?}");
        assert!(after.max_descriptors.unwrap() >= after.open_descriptors.unwrap());
        assert!(after.threads >= 1.0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(after.started <= now + 2.0 && after.started > now - 3600.0, "{after:?}");
        drop((files, block));
    }
}
