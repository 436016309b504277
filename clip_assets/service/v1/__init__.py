"""The endpoints of ``/v1``, and the files and pictures that they answer with."""
