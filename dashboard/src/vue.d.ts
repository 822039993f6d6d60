/**
 * Says that a `.vue` file exports a component. Only ESLint needs this file, because
 * ESLint's parser cannot read types from `.vue` files. The type check (vue-tsc) reads the
 * `.vue` files themselves, and so knows the props and events of each component.
 */
declare module '*.vue' {
  import type { DefineComponent } from 'vue'

  const component: DefineComponent
  export default component
}
