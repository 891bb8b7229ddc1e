//! Which types CAST makes of which.

use super::SqlType;

impl SqlType {
    /// Whether CAST makes values of type `to` out of values of this one.
    pub fn casts_to(&self, to: &Self) -> bool {
        use SqlType::{Array, BigInt, Boolean, Bytes, Date, Decimal, Double, Int, Map};
        use SqlType::{String, Struct, Time, Timestamp};
        match (self, to) {
            _ if self == to => true,
            (Int | BigInt | Double | Decimal { .. }, Int | BigInt | Double | Decimal { .. }) => {
                true
            }
            (Bytes, _) => false,
            (_, String) => true,
            (String, Boolean | Int | BigInt | Double | Decimal { .. }) => true,
            (String, Timestamp | Time | Date | Bytes) => true,
            (Timestamp, Time | Date) | (Date, Timestamp) => true,
            (Array(from), Array(to)) => from.casts_to(to),
            (Map(from_key, from), Map(to_key, to)) => {
                from_key.casts_to(to_key) && from.casts_to(to)
            }
            (Struct(from), Struct(to)) => to.iter().all(|(name, to)| {
                let same = from.iter().find(|(known, _)| known == name);
                same.is_none_or(|(_, from)| from.casts_to(to))
            }),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::SqlType::{self, Array, Boolean, Bytes, Int, String, Time, Timestamp};

    #[test]
    fn what_cannot_be_cast_is_known() {
        let array = |of: SqlType| Array(Box::new(of));
        assert!(Int.casts_to(&String));
        assert!(array(Int).casts_to(&array(String)));
        assert!(array(Int).casts_to(&String));
        assert!(Timestamp.casts_to(&Time));
        assert!(!Time.casts_to(&Timestamp));
        assert!(!String.casts_to(&array(Int)));
        assert!(!Boolean.casts_to(&Int));
        assert!(!Int.casts_to(&Boolean));
        assert!(!Bytes.casts_to(&String));
    }
}
