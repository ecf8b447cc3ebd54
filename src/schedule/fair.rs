//! [`Fair`]: who comes next, so that all get the same share of the pool by bytes.
//!
//! Turn by turn would not do: a slice of one large file can be a thousand times a small package.
//! This is start-time fair queueing (Goyal, Vin, Cheng, 1996): each member has a count of the bytes
//! it was served, and the one with the least comes next; one that comes back from idling starts
//! where the others are, so that it can neither save up a claim nor be behind.

/// What a piece of work costs beside its bytes: as long as it takes to open and plan a package, or
/// to hand out a slice, so much could have been unpacked.
pub(super) const OVERHEAD_BYTES: u64 = 256 << 10;

struct Member<K> {
    key: K,
    served: u64,
    idle: bool,
}

/// Members, least served first.
pub(super) struct Fair<K> {
    members: Vec<Member<K>>,
    /// What the member that was served last had been served before.
    now: u64,
}

impl<K: Copy + Eq> Fair<K> {
    pub(super) fn new(keys: impl IntoIterator<Item = K>) -> Self {
        let mut fair = Self { members: Vec::new(), now: 0 };
        keys.into_iter().for_each(|key| fair.join(key));
        fair
    }

    /// A new member starts where the others are.
    pub(super) fn join(&mut self, key: K) {
        self.members.push(Member { key, served: self.now, idle: false });
    }

    pub(super) fn leave(&mut self, key: K) {
        self.members.retain(|member| member.key != key);
    }

    /// Whether there is no more than one member.
    pub(super) fn is_alone(&self) -> bool {
        self.members.len() <= 1
    }

    /// Whom to ask for work, first to last; equals in the order in which they joined.
    pub(super) fn order(&self) -> Vec<K> {
        let mut order: Vec<(u64, K)> = self.members.iter().map(|m| (m.served, m.key)).collect();
        order.sort_by_key(|(served, _)| *served);
        order.into_iter().map(|(_, key)| key).collect()
    }

    /// It was asked, and had no work.
    pub(super) fn had_nothing(&mut self, key: K) {
        if let Some(member) = self.members.iter_mut().find(|member| member.key == key) {
            member.idle = true;
        }
    }

    /// It was asked, and gave work of so many bytes.
    pub(super) fn served(&mut self, key: K, bytes: u64) {
        if let Some(member) = self.members.iter_mut().find(|member| member.key == key) {
            if std::mem::take(&mut member.idle) {
                member.served = member.served.max(self.now);
            }
            self.now = member.served;
            member.served += bytes + OVERHEAD_BYTES;
        }
    }

    /// Its last piece of work turned out to be larger.
    pub(super) fn charge(&mut self, key: K, bytes: u64) {
        if let Some(member) = self.members.iter_mut().find(|member| member.key == key) {
            member.served += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serves whoever comes first of those that always have work of their size.
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
