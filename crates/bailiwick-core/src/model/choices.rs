//! Enumerations that are stored, sent and ordered by name and rank.

/// Declares an enumeration whose values are a column's, a JSON string's and a filter's.
///
/// The order of the values is their rank: ordering by the column follows it.
///
/// ```
/// bailiwick_core::choices! {
///     /// How much it matters.
///     pub enum Priority {
///         /// It can wait.
///         Low = "low",
///         /// It cannot.
///         High = "high",
///     }
/// }
/// assert_eq!(Priority::High.as_str(), "high");
/// ```
#[macro_export]
macro_rules! choices {
    ($(#[$meta:meta])* $visible:vis enum $name:ident { $($(#[$value_meta:meta])* $value:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $visible enum $name { $($(#[$value_meta])* $value),+ }

        impl $name {
            /// The names of all values, by rank.
            $visible const NAMES: &'static [&'static str] = &[$($text),+];

            /// The value's name.
            $visible const fn as_str(self) -> &'static str {
                Self::NAMES[self as usize]
            }

            /// The value that is called `name`.
            $visible fn from_name(name: &str) -> ::core::option::Option<Self> {
                match name {
                    $($text => ::core::option::Option::Some(Self::$value),)+
                    _ => ::core::option::Option::None,
                }
            }
        }

        impl $crate::model::FieldType for $name {
            const KIND: $crate::model::Kind = $crate::model::Kind::Text;
            const CHOICES: ::core::option::Option<&'static [&'static str]> = ::core::option::Option::Some(Self::NAMES);

            fn into_value(self) -> $crate::model::Value {
                $crate::model::Value::Text(self.as_str().to_owned())
            }

            fn from_value(value: $crate::model::ValueRef<'_>) -> ::core::option::Option<Self> {
                match value {
                    $crate::model::ValueRef::Text(name) => Self::from_name(name),
                    _ => ::core::option::Option::None,
                }
            }
        }

        impl $crate::model::InputValue for $name {
            type Stored = Self;

            fn from_json(value: &$crate::model::json::Json<'_>) -> ::core::result::Result<Self, $crate::model::json::Mismatch> {
                $crate::model::json::choice(value, Self::NAMES, Self::from_name)
            }

            fn into_stored(self) -> Self {
                self
            }
        }

        impl $crate::model::json::Serialize for $name {
            fn serialize<S: $crate::model::json::Serializer>(&self, serializer: S) -> ::core::result::Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}
