//! Sets of classes.

/// Most classes of a configuration.
pub const MAX_CLASSES: usize = 256;

/// Which class: its index in the configuration.
pub type ClassId = u8;

/// A set of classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClassSet([u64; MAX_CLASSES / 64]);

impl ClassSet {
    /// No class.
    pub const EMPTY: Self = Self([0; MAX_CLASSES / 64]);

    /// Adds a class.
    pub fn insert(&mut self, class: ClassId) {
        self.0[usize::from(class >> 6)] |= 1 << (class & 63);
    }

    /// Whether a class is in it.
    pub fn contains(&self, class: ClassId) -> bool {
        self.0[usize::from(class >> 6)] & (1 << (class & 63)) != 0
    }

    /// Whether the two have a class in common.
    pub fn intersects(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }

    /// Whether there is none in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::EMPTY
    }

    /// Its classes, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = ClassId> {
        (0u8..).zip(self.0).flat_map(|(word, mut bits)| {
            std::iter::from_fn(move || {
                let bit = (bits != 0).then(|| bits.trailing_zeros() as u8)?;
                bits &= bits - 1;
                Some(word * 64 + bit)
            })
        })
    }
}

impl Extend<ClassId> for ClassSet {
    fn extend<I: IntoIterator<Item = ClassId>>(&mut self, classes: I) {
        classes.into_iter().for_each(|class| self.insert(class));
    }
}

impl FromIterator<ClassId> for ClassSet {
    fn from_iter<I: IntoIterator<Item = ClassId>>(classes: I) -> Self {
        let mut set = Self::EMPTY;
        set.extend(classes);
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_into_it_in_order() {
        let set: ClassSet = [255, 0, 64, 63, 64].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63, 64, 255]);
        assert!(set.contains(255) && !set.contains(254));
        assert!(set.intersects(&[63].into_iter().collect()) && !set.intersects(&[1].into_iter().collect()));
        assert!(ClassSet::EMPTY.is_empty() && !set.is_empty());
    }
}
