"""What polygons are worth: against a reference in the field's metrics, against the cadastre in its terms."""
