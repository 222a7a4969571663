//! What Linux tells of this process; zeros on other systems.

/// The entry of the auxiliary vector that holds the size of a page (`AT_PAGESZ` in `getauxval(3)`).
const AUXILIARY_PAGE_BYTES: usize = 6;

/// The size of a page of memory, in bytes.
pub(crate) fn page_bytes() -> usize {
    std::fs::read("/proc/self/auxv").map_or(0, |vector| auxiliary(&vector, AUXILIARY_PAGE_BYTES))
}

/// The entry with this key in pairs of machine words; 0 if there is none.
fn auxiliary(vector: &[u8], key: usize) -> usize {
    const WORD: usize = size_of::<usize>();
    let words: Vec<usize> =
        vector.chunks_exact(WORD).filter_map(|word| word.try_into().ok().map(usize::from_ne_bytes)).collect();
    words.chunks_exact(2).find(|pair| pair[0] == key).map_or(0, |pair| pair[1])
}

/// How many threads there are.
pub(crate) fn threads() -> u64 {
    figure(&told(), "Threads")
}

/// The memory that is in use, and the address space, in bytes.
pub(crate) fn memory_bytes() -> (u64, u64) {
    let told = told();
    (figure(&told, "VmRSS").saturating_mul(1024), figure(&told, "VmSize").saturating_mul(1024))
}

fn told() -> String {
    std::fs::read_to_string("/proc/self/status").unwrap_or_default()
}

/// The number behind `name:`; 0 if there is none. Sizes are in KiB.
fn figure(told: &str, name: &str) -> u64 {
    let line = told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures() {
        let told = "Name:\tx\nVmRSSx:\t1 kB\nVmRSS:\t    1692 kB\nThreads:\t12\n";
        assert_eq!(figure(told, "VmRSS"), 1692);
        assert_eq!(figure(told, "Threads"), 12);
        assert_eq!(figure(told, "Name"), 0);
        assert_eq!(figure(told, "VmSize"), 0);
    }

    #[test]
    fn pages() {
        let vector: Vec<u8> = [3_usize, 6, 6, 4096, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(auxiliary(&vector, AUXILIARY_PAGE_BYTES), 4096);
        assert_eq!(auxiliary(&vector[..17], AUXILIARY_PAGE_BYTES), 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process() {
        assert!(page_bytes().is_power_of_two());
        assert!(threads() >= 1);
        let (resident, all) = memory_bytes();
        assert!(resident > 0 && resident <= all);
    }
}
