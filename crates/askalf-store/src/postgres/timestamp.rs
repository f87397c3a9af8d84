//! `timestamptz`: microseconds since 2000-01-01 on the wire, with the two infinities as its ends.

use std::error::Error;

use askalf_bridge_auth::UnixMillis;
use bytes::{BufMut, BytesMut};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

use super::fault::Fault;

/// Milliseconds from 1970 to 2000.
const EPOCH_MILLIS: i64 = 946_684_800_000;

/// 4714-11-24 BC, the first day that the type can hold, in microseconds since 2000.
const MIN_MICROS: i64 = -211_813_488_000_000_000;

/// 294276-12-31T23:59:59.999, the last millisecond that it can.
const MAX_MICROS: i64 = 9_223_371_331_199_999_000;

/// A time as a column holds it. Times that the column cannot hold become the nearest that it can; the infinities of the
/// database, by which people write "never", read as the ends of [`UnixMillis`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timestamp(pub(super) UnixMillis);

impl ToSql for Timestamp {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let micros = self
            .0
            .0
            .saturating_sub(EPOCH_MILLIS)
            .saturating_mul(1000)
            .clamp(MIN_MICROS, MAX_MICROS);
        out.put_i64(micros);
        Ok(IsNull::No)
    }

    accepts!(TIMESTAMPTZ);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Timestamp {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let millis = match i64::from_be_bytes(raw.try_into()?) {
            i64::MAX => i64::MAX,
            i64::MIN => i64::MIN,
            // Rounded down: a key never lasts longer than its row says.
            micros => micros.div_euclid(1000).saturating_add(EPOCH_MILLIS),
        };
        Ok(Self(UnixMillis(millis)))
    }

    accepts!(TIMESTAMPTZ);
}

/// The time in a column.
pub(super) fn read(row: &Row, column: usize) -> Result<UnixMillis, Fault> {
    Ok(row.try_get::<_, Timestamp>(column)?.0)
}

/// The time in a column that may be null.
pub(super) fn read_optional(row: &Row, column: usize) -> Result<Option<UnixMillis>, Fault> {
    let time: Option<Timestamp> = row.try_get(column)?;
    Ok(time.map(|time| time.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(millis: i64) -> i64 {
        let mut out = BytesMut::new();
        let null = Timestamp(UnixMillis(millis))
            .to_sql(&Type::TIMESTAMPTZ, &mut out)
            .unwrap();
        assert!(matches!(null, IsNull::No));
        i64::from_be_bytes(out.as_ref().try_into().unwrap())
    }

    fn millis(micros: i64) -> i64 {
        Timestamp::from_sql(&Type::TIMESTAMPTZ, &micros.to_be_bytes())
            .unwrap()
            .0
            .0
    }

    #[test]
    fn milliseconds_survive() {
        for time in [
            0,
            -1,
            1_795_505_580_007,
            EPOCH_MILLIS,
            -62_167_219_200_000,
            253_402_300_799_999,
        ] {
            assert_eq!(millis(micros(time)), time);
        }
        assert_eq!(micros(EPOCH_MILLIS), 0);
        assert_eq!(millis(-1), EPOCH_MILLIS - 1);
    }

    #[test]
    fn what_the_column_cannot_hold_saturates_and_infinity_is_for_ever() {
        assert_eq!(micros(i64::MAX), MAX_MICROS);
        assert_eq!(micros(i64::MIN), MIN_MICROS);
        assert_eq!((millis(i64::MAX), millis(i64::MIN)), (i64::MAX, i64::MIN));
        assert!(Timestamp::from_sql(&Type::TIMESTAMPTZ, &[0; 4]).is_err());
    }
}
