//! Where a body lies while it comes in.

use bytes::Bytes;
use memmap2::MmapMut;

/// A body of which so much has come gets memory of its own for all that it announces. It goes back to the system when it has
/// been used: the allocator would keep a piece of that size for each thread that ever took a call. A body that only
/// announces much has set nothing aside.
const LARGE: usize = 1 << 20;

/// What has come of a body, or of a part of one.
pub(super) struct Arriving {
    announced: usize,
    place: Place,
}

enum Place {
    Shared(Vec<u8>),
    Own { memory: MmapMut, len: usize },
}

impl Arriving {
    /// More or less than what is announced may come.
    pub fn new(announced: usize) -> Self {
        Self {
            announced,
            place: Place::Shared(Vec::new()),
        }
    }

    pub fn len(&self) -> usize {
        match &self.place {
            Place::Shared(bytes) => bytes.len(),
            Place::Own { len, .. } => *len,
        }
    }

    pub fn take(&mut self, piece: &[u8]) {
        let after = self.len() + piece.len();
        if (LARGE..=self.announced).contains(&after) {
            self.move_out();
        }
        match &mut self.place {
            Place::Shared(bytes) => bytes.extend_from_slice(piece),
            Place::Own { memory, len } => match memory.get_mut(*len..after) {
                Some(place) => {
                    place.copy_from_slice(piece);
                    *len = after;
                }
                None => self.place = Place::Shared([&memory[..*len], piece].concat()),
            },
        }
    }

    /// Moves to memory of its own, where the system gives it. Of that only what comes is taken.
    fn move_out(&mut self) {
        if let Place::Shared(bytes) = &self.place
            && let Ok(mut memory) = MmapMut::map_anon(self.announced)
        {
            let len = bytes.len();
            memory[..len].copy_from_slice(bytes);
            self.place = Place::Own { memory, len };
        }
    }

    /// All that came.
    pub fn complete(self) -> Bytes {
        match self.place {
            Place::Shared(bytes) => bytes.into(),
            Place::Own { memory, len } => Bytes::from_owner(memory).slice(..len),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_is_what_is_there_in_the_end_whatever_was_announced() {
        let sent: Vec<u8> = (0..LARGE + 5000).map(|at| (at % 251) as u8).collect();
        for announced in [0, 10, LARGE, LARGE + 4999, LARGE + 5000, 2 * LARGE] {
            let mut arriving = Arriving::new(announced);
            for piece in sent.chunks(4000) {
                arriving.take(piece);
            }
            assert_eq!(arriving.len(), sent.len(), "{announced}");
            assert!(arriving.complete() == sent, "{announced}");
        }
        assert!(Arriving::new(LARGE).complete().is_empty());
    }

    #[test]
    fn a_body_has_memory_of_its_own_once_much_of_it_has_come() {
        let mut arriving = Arriving::new(2 * LARGE);
        arriving.take(&vec![1; LARGE - 1]);
        assert!(matches!(arriving.place, Place::Shared(_)));
        arriving.take(&[2]);
        assert!(matches!(arriving.place, Place::Own { len: LARGE, .. }));
    }
}
