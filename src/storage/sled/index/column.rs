//! A value for each slot, in pieces: with one more user nothing is ever copied that goes by the number of users, neither for a moment of a
//! commit's time nor for as much memory again.

/// Slots of a piece.
const PIECE_SLOTS: usize = 1024;

/// A value for each slot, up to the last one that was set.
#[derive(Default)]
pub(super) struct Column<T> {
    /// All but the last are full.
    pieces: Vec<Vec<T>>,
}

impl<T: Copy + Default> Column<T> {
    /// How many slots there are.
    pub(super) fn len(&self) -> usize {
        self.pieces.len().saturating_sub(1) * PIECE_SLOTS + self.pieces.last().map_or(0, Vec::len)
    }

    /// The value of a slot.
    pub(super) fn get(&self, slot: u32) -> Option<&T> {
        let slot = slot as usize;
        self.pieces.get(slot / PIECE_SLOTS)?.get(slot % PIECE_SLOTS)
    }

    /// Sets the value of a slot.
    pub(super) fn set(&mut self, slot: u32, value: T) {
        let slot = slot as usize;
        while self.len() <= slot {
            match self.pieces.last_mut().filter(|piece| piece.len() < PIECE_SLOTS) {
                Some(piece) => piece.push(T::default()),
                None => self.pieces.push(vec![T::default()]),
            }
        }
        if let Some(place) = self.pieces.get_mut(slot / PIECE_SLOTS).and_then(|piece| piece.get_mut(slot % PIECE_SLOTS)) {
            *place = value;
        }
    }

    /// The values, by slot.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pieces.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_a_plain_list_would() {
        let (mut column, mut list) = (Column::default(), Vec::new());
        assert_eq!(column.len(), 0);
        for (place, slot) in [0, 1, 1, 1023, 1024, 5, 3000, 1025].into_iter().enumerate() {
            column.set(slot, place + 1);
            list.resize(list.len().max(slot as usize + 1), 0);
            list[slot as usize] = place + 1;
            assert!(column.iter().eq(&list));
            assert_eq!(column.len(), list.len());
            assert!((0..4000).all(|slot| column.get(slot) == list.get(slot as usize)));
        }
    }
}
