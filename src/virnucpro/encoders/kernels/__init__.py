"""Triton kernels, each with a twin in `steps.plain` that it is tested against.

They compute in fp32 between loading and storing. Importing a module here needs Triton.
"""
