//! Any rows come back as they were, and nothing but the whole backup is taken for one.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const CONTENTS: Contents = Contents { users: 3, deliveries: 5, changes: u64::MAX, cursor: 8 };

fn written(rows: &[Row]) -> (Vec<u8>, Summary) {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes).unwrap();
    rows.iter().for_each(|row| writer.row(row).unwrap());
    let summary = writer.end(CONTENTS).unwrap();
    (bytes, summary)
}

fn read(bytes: &[u8]) -> Result<(Vec<Row>, Summary), Fault> {
    let mut reader = Reader::new(bytes)?;
    let rows = reader.by_ref().collect::<Result<_, _>>()?;
    Ok((rows, reader.summary().expect("an end, since there was no fault")))
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (vec(any::<u8>(), 0..40), vec(any::<u8>(), 0..300)).prop_map(|(key, value)| Row { key, value });
    vec(row, 0..12)
}

proptest! {
    #[test]
    fn any_rows_come_back_as_they_were(rows in rows()) {
        let (bytes, summary) = written(&rows);
        prop_assert_eq!(summary.rows, rows.len() as u64);
        prop_assert_eq!(read(&bytes).unwrap(), (rows, summary));
    }

    #[test]
    fn no_flipped_byte_passes(rows in rows(), place: prop::sample::Index, flip in 1..=255_u8) {
        let (mut bytes, _) = written(&rows);
        let place = place.index(bytes.len());
        bytes[place] ^= flip;
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn nothing_that_was_cut_or_went_on_passes(rows in rows(), place: prop::sample::Index, more in vec(any::<u8>(), 1..20)) {
        let (mut bytes, _) = written(&rows);
        let cut = &bytes[..place.index(bytes.len())];
        let was_cut = matches!(read(cut), Err(Fault::Cut { .. }));
        prop_assert!(was_cut);
        bytes.extend(more);
        prop_assert!(read(&bytes).is_err());
    }
}

#[test]
fn every_byte_counts_and_so_does_every_length() {
    let row = |key: &[u8], value: &[u8]| Row { key: key.to_vec(), value: value.to_vec() };
    let (bytes, _) = written(&[row(b"a", b"first"), row(b"", b""), row(b"key", &[7; 500])]);
    for place in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[place] ^= 1 << bit;
            assert!(read(&flipped).is_err(), "bit {bit} of byte {place}");
        }
        assert!(matches!(read(&bytes[..place]), Err(Fault::Cut { .. })), "the first {place} bytes");
    }
}

#[test]
fn rows_that_changed_places_are_not_the_same_backup() {
    let rows = [Row { key: b"a".to_vec(), value: b"1".to_vec() }, Row { key: b"b".to_vec(), value: b"2".to_vec() }];
    let (bytes, _) = written(&rows);
    let head = MAGIC.len() + 4 + CHECKSUM_BYTES;
    let row = 1 + LENGTHS_BYTES + 2 + CHECKSUM_BYTES;
    let mut swapped = bytes[..head].to_vec();
    swapped.extend_from_slice(&bytes[head + row..head + 2 * row]);
    swapped.extend_from_slice(&bytes[head..head + row]);
    swapped.extend_from_slice(&bytes[head + 2 * row..]);
    assert!(matches!(read(&swapped), Err(Fault::Damaged { rows: 2, .. })));
}

#[test]
fn a_fault_says_what_is_wrong() {
    let (bytes, _) = written(&[]);
    assert!(matches!(read(b"PK\x03\x04"), Err(Fault::Stranger)));
    assert!(matches!(read(b"rollcall: a text that is long enough"), Err(Fault::Stranger)));
    assert!(matches!(read(b""), Err(Fault::Cut { rows: 0 })));
    let mut newer = MAGIC.to_vec();
    newer.extend(2_u32.to_le_bytes());
    newer.extend(crc32c::crc32c(&newer).to_le_bytes());
    newer.extend_from_slice(&bytes[newer.len()..]);
    assert!(read(&newer).unwrap_err().to_string().contains("format 2"));
}

#[test]
fn a_row_that_no_reader_would_take_is_not_written() {
    let mut writer = Writer::new(Vec::new()).unwrap();
    let error = writer.row(&Row { key: vec![0; KEY_BYTES_MAX + 1], value: Vec::new() }).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}
