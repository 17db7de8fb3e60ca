//! Names of cached blocks. A name stands for a block's tokens and for everything they depend on: all tokens before
//! them, the adapter's generation, the base, and who may share. Nothing else finds the block.

use crate::domain::Generation;

/// 128 bits of a keyed hash: callers do not know the key, so they cannot make two names collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name([u8; 16]);

/// Gives names, under a key that is new with every process.
pub struct Names {
    key: [u8; 32],
    base: [u8; 32],
    block_size: usize,
}

/// Who may share blocks with whom. Two that differ never find each other's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Circle<'a> {
    /// All requests with the same salt.
    Salted(&'a str),
    /// All requests of one owner, by its number, with the same salt.
    Owned(u64, &'a str),
    /// The answers of one request, by its number.
    Alone(u64),
}

impl Names {
    /// `base`: the digest of its weights.
    pub fn new(base: [u8; 32], block_size: usize) -> Self {
        Self {
            key: rand::random(),
            base,
            block_size,
        }
    }

    pub fn block_size(&self) -> usize {
        self.block_size
    }

    /// What the name of a sequence's first block is chained to.
    /// `key_class`: keys of equal tokens are equal only where this number is.
    pub fn root(&self, circle: Circle<'_>, adapter: Option<Generation>, key_class: usize) -> Name {
        let mut hash = blake3::Hasher::new_keyed(&self.key);
        hash.update(&self.base);
        hash.update(&(key_class as u64).to_le_bytes());
        // Every part has a tag or a fixed length, so that no two roots are spelled alike.
        match adapter {
            Some(generation) => hash.update(&[1]).update(generation.bytes()),
            None => hash.update(&[0]),
        };
        match circle {
            Circle::Salted(salt) => hash.update(&[0]).update(salt.as_bytes()),
            Circle::Owned(owner, salt) => hash
                .update(&[2])
                .update(&owner.to_le_bytes())
                .update(salt.as_bytes()),
            Circle::Alone(request) => hash.update(&[1]).update(&request.to_le_bytes()),
        };
        shortened(hash.finalize())
    }

    /// Appends the names of the blocks that `tokens`, a sequence from its beginning, fills; `names` has those of its
    /// first blocks.
    pub fn extend<'t>(
        &self,
        root: Name,
        names: &mut Vec<Name>,
        tokens: impl Iterator<Item = &'t u32>,
    ) {
        let mut before = names.last().copied().unwrap_or(root);
        let mut bytes = Vec::with_capacity(16 + 4 * self.block_size);
        let mut tokens = tokens.skip(names.len() * self.block_size);
        loop {
            bytes.clear();
            bytes.extend_from_slice(&before.0);
            let block = tokens.by_ref().take(self.block_size);
            block.for_each(|id| bytes.extend_from_slice(&id.to_le_bytes()));
            if bytes.len() < 16 + 4 * self.block_size {
                return;
            }
            before = shortened(blake3::keyed_hash(&self.key, &bytes));
            names.push(before);
        }
    }
}

fn shortened(hash: blake3::Hash) -> Name {
    let mut name = [0; 16];
    name.copy_from_slice(&hash.as_bytes()[..16]);
    Name(name)
}

#[cfg(test)]
pub(super) fn numbered(number: u64) -> Name {
    let mut name = [0; 16];
    name[..8].copy_from_slice(&number.to_le_bytes());
    Name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &Names, root: Name, tokens: &[u32]) -> Vec<Name> {
        let mut found = Vec::new();
        names.extend(root, &mut found, tokens.iter());
        found
    }

    #[test]
    fn a_name_stands_for_all_tokens_up_to_the_blocks_end() {
        let names = Names::new([0; 32], 3);
        let root = names.root(Circle::Salted(""), None, 0);
        let whole = of(&names, root, &[1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(whole.len(), 2, "only full blocks have names");
        assert_eq!(of(&names, root, &[1, 2, 3, 4, 5, 6]), whole);
        let other = of(&names, root, &[9, 2, 3, 4, 5, 6]);
        assert!(other[0] != whole[0] && other[1] != whole[1]);
        let mut extended = whole[..1].to_vec();
        names.extend(root, &mut extended, [1, 2, 3, 4, 5, 6].iter());
        assert_eq!(extended, whole);
    }

    #[test]
    fn whatever_the_contents_depend_on_changes_the_name() {
        let names = Names::new([0; 32], 2);
        let generation = |byte| Some(Generation::new([byte; 32]));
        let roots = [
            names.root(Circle::Salted(""), None, 0),
            names.root(Circle::Salted("a"), None, 0),
            names.root(Circle::Salted(""), generation(0), 0),
            names.root(Circle::Salted(""), generation(1), 0),
            names.root(Circle::Alone(0), None, 0),
            names.root(Circle::Alone(1), None, 0),
            names.root(Circle::Owned(0, ""), None, 0),
            names.root(Circle::Owned(1, ""), None, 0),
            names.root(Circle::Owned(1, "a"), None, 0),
            names.root(Circle::Salted(""), None, 1),
            names.root(Circle::Salted(""), None, 256),
            Names {
                base: [1; 32],
                ..names
            }
            .root(Circle::Salted(""), None, 0),
        ];
        for (at, root) in roots.iter().enumerate() {
            assert!(!roots[..at].contains(root), "root {at} is not its own");
        }
    }
}
