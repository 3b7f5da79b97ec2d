//! Rows of one statement. A statement of another length is another statement, which has to be
//! prepared: so there are few lengths.

/// SQLite takes 32,766 values in one statement.
const LONGEST: usize = 256;

/// Cuts rows into pieces, each as long as a power of two.
pub(crate) fn pieces<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let length = rows.len().min(LONGEST).checked_ilog2()?;
        let (piece, rest) = rows.split_at(1 << length);
        rows = rest;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_lengths_and_all_rows_in_order() {
        let rows: Vec<_> = (0..600 + 7).collect();
        let lengths: Vec<_> = pieces(&rows).map(<[_]>::len).collect();
        assert_eq!(lengths, [256, 256, 64, 16, 8, 4, 2, 1]);
        assert_eq!(pieces(&rows).collect::<Vec<_>>().concat(), rows);
        assert_eq!(pieces::<u8>(&[]).count(), 0);
    }
}
