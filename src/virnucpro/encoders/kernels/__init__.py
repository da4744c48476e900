"""Triton kernels. Tests compare each of them with its counterpart in `steps.plain`.

They compute in fp32 between loading and storing. Importing a module of this folder needs Triton.
"""
