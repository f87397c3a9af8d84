//! Enums that travel as one word each: every variant and its word are named once.

/// Gives an enum its words. A variant without a word does not compile. `or Other` is for an enum that keeps a word of
/// a newer or foreign peer in `Other(String)`; the visibility is that of `from_wire`.
macro_rules! words {
    ($name:ident, $visibility:vis from_wire: $($variant:ident = $word:literal,)+) => {
        impl $name {
            /// Every variant.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as it stands on the wire.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// The variant that a word stands for, if it is one we know.
            $visibility fn from_wire(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        $crate::word::written!($name);
    };
    ($name:ident or Other, $visibility:vis from_wire: $($variant:ident = $word:literal,)+) => {
        impl $name {
            /// The word as it stands on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Other(word) => word,
                }
            }

            /// The variant that a word stands for.
            $visibility fn from_wire(word: &str) -> Self {
                match word {
                    $($word => Self::$variant,)+
                    other => Self::Other(other.to_owned()),
                }
            }
        }

        $crate::word::written!($name);
    };
}

macro_rules! written {
    ($name:ident) => {
        impl ::std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                formatter.write_str(self.as_str())
            }
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

pub(crate) use {words, written};
