"""What requests may say and what answers look like: msgspec types, from which the OpenAPI document is made, too."""
