//! The sizes of recent packages, as an estimate for the next one.

use super::fair::OVERHEAD_BYTES;

/// The largest of the recently opened packages; unknown before the first.
#[derive(Debug, Default)]
pub(super) struct Recent {
    bytes: Option<u64>,
}

impl Recent {
    /// Records that a package of `bytes` unpacked bytes was opened. A large one is remembered for a while:
    /// each smaller one reduces the value by an eighth.
    pub(super) fn opened(&mut self, bytes: u64) {
        let before = self.bytes.unwrap_or(0);
        self.bytes = Some(bytes.max(before - before.div_ceil(8)));
    }

    /// Returns how many packages of the estimated size have no more than `bytes` together.
    pub(super) fn fit(&self, bytes: u64) -> usize {
        let each = self.bytes.map(|each| each.saturating_add(OVERHEAD_BYTES));
        each.map_or(0, |each| usize::try_from(bytes / each).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn packages_of_unknown_size_do_not_fit() {
        assert_eq!(Recent::default().fit(u64::MAX), 0);
    }

    #[test]
    fn one_large_package_counts_for_a_while_and_not_for_ever() {
        let mut recent = Recent::default();
        recent.opened(0);
        assert_eq!(recent.fit(4 * MIB), 16, "empty ones cost something, too");
        recent.opened(16 * MIB);
        recent.opened(0);
        assert_eq!(recent.fit(4 * MIB), 0);
        (0..200).for_each(|_| recent.opened(0));
        assert_eq!(recent.fit(4 * MIB), 16);
    }
}
