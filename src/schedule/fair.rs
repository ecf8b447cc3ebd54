//! [`Fair`]: the order of members, so that all get the same share of the pool by bytes.
//!
//! Plain round-robin would not be fair: a slice of one large file can be a thousand times a small package.
//! This is start-time fair queueing (Goyal, Vin, Cheng, 1996): each member has a count of the bytes
//! it was served, and the one with the least comes next. A member that returns from idling starts
//! where the others are, so that it can neither save up a claim nor be behind.

/// The cost of a piece of work besides its bytes: the bytes that could have been unpacked in the time
/// that it takes to open and plan a package, or to hand out a slice.
pub(super) const OVERHEAD_BYTES: u64 = 256 << 10;

struct Member<K> {
    key: K,
    served: u64,
    idle: bool,
}

/// The members and their shares.
pub(super) struct Fair<K> {
    members: Vec<Member<K>>,
    /// The served count of the last served member, before it was served.
    now: u64,
}

impl<K: Copy + Eq> Fair<K> {
    pub(super) fn new(keys: impl IntoIterator<Item = K>) -> Self {
        let mut fair = Self { members: Vec::new(), now: 0 };
        keys.into_iter().for_each(|key| fair.join(key));
        fair
    }

    /// Adds a member, which starts where the others are.
    pub(super) fn join(&mut self, key: K) {
        self.members.push(Member { key, served: self.now, idle: false });
    }

    pub(super) fn leave(&mut self, key: K) {
        self.members.retain(|member| member.key != key);
    }

    /// Whether there is at most one member.
    pub(super) fn is_alone(&self) -> bool {
        self.members.len() <= 1
    }

    /// Returns the members in the order in which to ask them for work; equals in the order of joining.
    pub(super) fn order(&self) -> Vec<K> {
        let mut order: Vec<(u64, K)> = self.members.iter().map(|m| (m.served, m.key)).collect();
        order.sort_by_key(|(served, _)| *served);
        order.into_iter().map(|(_, key)| key).collect()
    }

    /// Records that a member was asked, and had no work.
    pub(super) fn had_nothing(&mut self, key: K) {
        if let Some(member) = self.members.iter_mut().find(|member| member.key == key) {
            member.idle = true;
        }
    }

    /// Records that a member was asked, and gave work of `bytes`.
    pub(super) fn served(&mut self, key: K, bytes: u64) {
        if let Some(member) = self.members.iter_mut().find(|member| member.key == key) {
            if std::mem::take(&mut member.idle) {
                member.served = member.served.max(self.now);
            }
            self.now = member.served;
            member.served += bytes + OVERHEAD_BYTES;
        }
    }

    /// Records that a member's last piece of work turned out to be larger by `bytes`.
    pub(super) fn charge(&mut self, key: K, bytes: u64) {
        if let Some(member) = self.members.iter_mut().find(|member| member.key == key) {
            member.served += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serves the first member of those that always have work of their size.
    fn serve(fair: &mut Fair<char>, sizes: &[(char, u64)]) -> char {
        for key in fair.order() {
            match sizes.iter().find(|(name, _)| *name == key) {
                Some((_, bytes)) => {
                    fair.served(key, *bytes);
                    return key;
                }
                None => fair.had_nothing(key),
            }
        }
        panic!("nobody has work");
    }

    #[test]
    fn members_with_pieces_of_other_sizes_get_the_same_bytes() {
        let mut fair = Fair::new(['g', 's']);
        let sizes = [('g', 16 << 20), ('s', 1 << 20)];
        let turns: Vec<char> = (0..130).map(|_| serve(&mut fair, &sizes)).collect();
        let giant = turns.iter().filter(|turn| **turn == 'g').count();
        assert!(
            (9..=11).contains(&giant),
            "16.25 to 1.25 MiB: every 14th turn, and it had {giant}"
        );
    }

    #[test]
    fn member_that_idled_has_saved_up_nothing() {
        let mut fair = Fair::new(['a', 'b']);
        for _ in 0..1000 {
            assert_eq!(serve(&mut fair, &[('a', 0)]), 'a');
        }
        let both = [('a', 0), ('b', 0)];
        let turns: String = (0..6).map(|_| serve(&mut fair, &both)).collect();
        assert!(turns == "bababa" || turns == "babaab" || turns == "bbabab", "{turns}");
    }

    #[test]
    fn member_that_joins_late_starts_where_the_others_are() {
        let mut fair = Fair::new(['a']);
        for _ in 0..1000 {
            serve(&mut fair, &[('a', 9)]);
        }
        fair.join('b');
        let turns: String = (0..4).map(|_| serve(&mut fair, &[('a', 9), ('b', 9)])).collect();
        assert_eq!(turns.matches('b').count(), 2, "{turns}");
    }
}
